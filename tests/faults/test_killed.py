"""`kill -9` at any moment of a run: resumed, it is the uninterrupted run, and nothing is left half done."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from deepfake import leaderboard, registry, tracking

pytestmark = pytest.mark.faults

MOMENTS = 20
METRICS = ("auc", "loss", "accuracy", "eer", "ece")


@pytest.fixture(scope="module")
def settings(small: list[str]) -> list[str]:
    return [*small, "trainer.epochs=4", "trainer.early_stopping=null", "trainer.deterministic=true"]


def weights(run_id: str) -> list[np.ndarray]:
    folder = registry.fetch(f"runs:/{run_id}/model")
    return keras.models.load_model(folder / "deepfake_model.h5", compile=False).get_weights()


def same(run_id: str, whole: str) -> None:
    """Assert that two runs came to the same."""
    rows = {row["run_id"]: row for row in leaderboard.rows()}
    for name in (f"{split}/{metric}" for split in ("validation", "test") for metric in METRICS):
        assert rows[run_id]["metrics"][name] == pytest.approx(rows[whole]["metrics"][name], abs=1e-6), name
    for ours, theirs in zip(weights(run_id), weights(whole), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    history = tracking.client().get_metric_history(run_id, "epoch/loss")
    assert [metric.step for metric in history] == [0, 1, 2, 3]


def kill(process: subprocess.Popen) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_whenever_it_is_killed_it_goes_on_to_the_same_end(
    home: Path, settings: list[str], start: Callable, typed: Callable
) -> None:
    began = time.monotonic()
    done = typed("run.py", *settings)
    assert done.returncode == 0, done.stderr
    seconds = time.monotonic() - began
    (whole,) = (row["run_id"] for row in leaderboard.rows())
    known, reached = {whole}, []
    drawn = random.Random(0)
    for number in range(MOMENTS):
        # a different seed of the split makes a different cache, so that its making is interrupted too
        process = start("run.py", *settings)
        time.sleep(seconds * (number + drawn.random()) / MOMENTS)
        kill(process)
        found = {row["run_id"]: row["status"] for row in leaderboard.rows() if row["run_id"] not in known}
        assert len(found) <= 1
        for run_id, status in found.items():
            reached.append(status)
            if status != "FINISHED":
                done = typed("run.py", f"resume={run_id}")
                assert done.returncode == 0, done.stderr
            same(run_id, whole)
        known |= set(found)
    assert "RUNNING" in reached
    rows = leaderboard.rows()
    assert {row["status"] for row in rows} == {"FINISHED"}
    assert sorted(int(row["version"]) for row in rows) == list(range(1, len(rows) + 1))
    champions = [row for row in rows if row["alias"] == "champion"]
    assert len(champions) == 1
    assert not list((home / "mlruns" / "locks").iterdir())


def test_killed_as_the_data_are_first_read_the_next_start_reads_them(
    home: Path, settings: list[str], start: Callable, typed: Callable
) -> None:
    process = start("run.py", *settings)
    deadline = time.monotonic() + 60
    while not list(home.glob("data/cache/*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    kill(process)
    done = typed("run.py", *settings)
    assert done.returncode == 0, done.stderr
    assert not list(home.glob("data/cache/*.partial"))


def test_killed_between_its_version_and_its_end_it_is_not_registered_twice(
    home: Path, settings: list[str], start: Callable, typed: Callable
) -> None:
    process = start("run.py", *settings)
    client, deadline = tracking.client(), time.monotonic() + 300
    while not client.search_model_versions():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    kill(process)
    (row,) = leaderboard.rows()
    if row["status"] != "FINISHED":
        done = typed("run.py", f"resume={row['run_id']}")
        assert done.returncode == 0, done.stderr
    (row,) = leaderboard.rows()
    assert (row["status"], row["version"], row["alias"]) == ("FINISHED", "1", "champion")
    assert len(client.search_model_versions()) == 1
