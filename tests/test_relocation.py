"""A home that was moved or copied."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepfake import experiment, leaderboard, registry, tracking
from deepfake.cli import app
from deepfake.config import compose
from deepfake.detector import Detector
from deepfake.errors import ModelError, TrackingError


@pytest.fixture
def copied(finished_run: dict, session_home: Path, new_home: Path) -> Path:
    """A home with a copy of another's runs; the other is still there."""
    shutil.copytree(session_home / "mlruns", new_home / "mlruns")
    return new_home


def relocate() -> str:
    done = CliRunner().invoke(app, ["relocate"], env={"COLUMNS": "400"})
    assert done.exit_code == 0, done.output
    return done.output


def test_it_is_noticed_and_mended(copied: Path, session_home: Path, finished_run: dict, small: list[str]) -> None:
    name = f"runs:/{finished_run['run_id']}/model"
    noticed = f"mlruns/ was moved or copied from {session_home}/mlruns: `python -m deepfake relocate` mends it"
    with pytest.raises(ModelError, match=noticed):
        registry.fetch(name)
    with pytest.raises(TrackingError, match=noticed):  # or its artifacts would land in the other home
        experiment.run(compose(small))

    said = relocate()
    assert f"{session_home}/mlruns -> {copied}/mlruns\n" in said
    assert "and the versions they made, are found here now" in said
    assert registry.fetch(name).is_relative_to(copied)
    assert registry.fetch("champion").is_relative_to(copied)
    assert Detector.load(name).card.run_id == finished_run["run_id"]
    assert tracking.config_of(finished_run["run_id"]) == compose(small)
    experiment.run(compose([*small, "trainer.epochs=1", "seed=3"]))
    new = max(leaderboard.rows(), key=lambda row: row["start"])["run_id"]
    assert registry.fetch(f"runs:/{new}/model").is_relative_to(copied)
    assert "Nothing was moved." in relocate()


def test_the_other_home_stays_as_it_was(
    copied: Path, session_home: Path, finished_run: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    relocate()
    monkeypatch.setenv("DEEPFAKE_HOME", str(session_home))
    assert registry.fetch(f"runs:/{finished_run['run_id']}/model").is_relative_to(session_home)


def test_a_folder_whose_name_only_begins_alike_is_another(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = tracking.client()
    other = client.create_experiment("other", f"{home}/mlruns2/artifacts")
    relocate()
    assert client.get_experiment(other).artifact_location == f"{home}/mlruns2/artifacts"


@pytest.mark.parametrize("uri", [None, "http://127.0.0.1:9"])
def test_what_cannot_be_mended(uri: str | None, new_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    done = CliRunner().invoke(app, ["relocate"])
    expected = "only this project's own database is mended" if uri else f"there is no {new_home}/mlruns/mlflow.db"
    assert expected in str(done.exception)


def test_a_damaged_database(home: Path) -> None:
    tracking.client()
    tracking.database().write_bytes(b"no database at all, " * 99)
    done = CliRunner().invoke(app, ["relocate"])
    assert f"{home}/mlruns/mlflow.db cannot be mended" in str(done.exception)
