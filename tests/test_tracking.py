"""The store is made once, and a server is as good as a file."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deepfake import experiment, leaderboard, registry, tracking
from deepfake.config import compose
from deepfake.detector import Detector
from deepfake.errors import DataError, TrackingError


@pytest.fixture
def server(serve: Callable, new_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A tracking server with its own database and artifacts."""
    url = "http://127.0.0.1:5918"
    stores = ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--artifacts-destination", f"{tmp_path}/files"]
    with serve(["mlflow", "server", *stores, "--port", "5918", "--workers", "1"], f"{url}/health", tmp_path):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        yield url


def test_a_server_records_and_serves_a_run(server: str, new_home: Path, small: list[str]) -> None:
    experiment.run(compose([*small, "trainer.epochs=1"]))
    (row,) = leaderboard.rows()
    assert (row["status"], row["version"], row["alias"]) == ("FINISHED", "1", "champion")
    assert not (new_home / "mlruns" / "mlflow.db").exists()
    folder = registry.fetch("champion")
    assert folder.is_relative_to(new_home / "mlruns" / "downloads")
    assert Detector.load("models:/deepfake-detector@champion").card.run_id == row["run_id"]


def test_the_environment_is_left_alone(home: Path) -> None:
    tracking.client()
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert tracking.uri() == f"sqlite:///{home}/mlruns/mlflow.db"


def test_what_a_resumed_run_measures_again_stands_there_once(home: Path) -> None:
    client = tracking.client()
    run_id = client.create_run(tracking.experiment_id(client, "deepfake")).info.run_id
    for metrics in ({"auc": 0.9, "loss": 0.4}, {"auc": 0.9, "loss": 0.4, "eer": 0.1}):
        tracking.Run(client, run_id).log_metrics("Test", metrics)
    for name, value in (("auc", 0.9), ("loss", 0.4), ("eer", 0.1)):
        assert [metric.value for metric in client.get_metric_history(run_id, f"test/{name}")] == [value]


def test_a_deleted_experiment_says_so(home: Path, small: list[str]) -> None:
    client = tracking.client()
    client.delete_experiment(client.create_experiment("gone"))
    with pytest.raises(TrackingError, match=r"tracking.experiment=gone was deleted"):
        experiment.run(compose([*small, "tracking.experiment=gone"]))


def test_resuming_on_other_images_is_refused(
    home: Path, small: list[str], make_faces: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_faces(tmp_path / "mine", {"Train": 16, "Validation": 8, "Test": 8})
    settings = [*small, f"dataset.root={root}", "trainer.batch_size=500"]
    with pytest.raises(DataError, match="fewer than"):
        experiment.run(compose(settings))
    (row,) = leaderboard.rows()
    (root / "Train" / "Real" / "0000.png").unlink()
    with pytest.raises(DataError, match="are not those the run began with"):
        experiment.run(compose([f"resume={row['run_id']}"]))
