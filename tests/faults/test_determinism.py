"""`trainer.deterministic=true`: the same settings and seed give the same bits, whoever starts the run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from deepfake.config import CONF

pytestmark = pytest.mark.faults

REPRODUCIBLE = ["experiment=reproducible", "dataset.images=60", "trainer.epochs=2"]


def run(home: Path, *typed: str, **environment: str) -> dict[int, Path]:
    """Run a command in a home of its own; return the artifacts of the runs that it made, by their seeds."""
    command = [sys.executable, "run.py", *typed[:-1], *REPRODUCIBLE, typed[-1]]
    environment = os.environ | {"DEEPFAKE_HOME": str(home)} | environment
    done = subprocess.run(command, cwd=CONF.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    cards = home.glob("mlruns/artifacts/*/artifacts/model/detector.json")
    return {json.loads(card.read_text())["settings"]["seed"]: card.parents[1] for card in cards}


def weights(artifacts: Path) -> dict[str, np.ndarray]:
    found = {}

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(artifacts / "model" / "deepfake_model.h5") as file:
        file.visititems(note)
    return found


def assert_same(one: Path, other: Path) -> None:
    """Every weight, and what the model says of every image, are the same to the last bit."""
    these, those = weights(one), weights(other)
    assert these and these.keys() == those.keys()
    assert [name for name in these if these[name].tobytes() != those[name].tobytes()] == []
    assert (one / "predictions.csv").read_text() == (other / "predictions.csv").read_text()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one run of seed 1 left."""
    return run(tmp_path_factory.mktemp("alone"), "seed=1")[1]


def test_again(alone: Path, tmp_path: Path) -> None:
    assert_same(run(tmp_path, "seed=1")[1], alone)


def test_another_seed_gives_other_weights(alone: Path, tmp_path: Path) -> None:
    these, those = weights(run(tmp_path, "seed=2")[2]), weights(alone)
    assert any(these[name].tobytes() != those[name].tobytes() for name in those)


def test_on_one_core(alone: Path, tmp_path: Path) -> None:
    """As in a job of a sweep whose launcher shares out the cores."""
    assert_same(run(tmp_path, "seed=1", OMP_NUM_THREADS="1")[1], alone)


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_in_a_sweep(alone: Path, tmp_path: Path, launcher: str) -> None:
    swept = run(tmp_path, "-m", f"hydra/launcher={launcher}", "seed=1,2")
    assert swept.keys() == {1, 2}
    assert_same(swept[1], alone)
