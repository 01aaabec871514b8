"""A tracking server that goes in the middle of a run: the run goes on, and nothing is lost or told twice."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from deepfake import leaderboard, outbox, registry, tracking
from deepfake.detector import Detector

pytestmark = pytest.mark.faults

EPOCHS = 8


@pytest.fixture
def server(
    serve: Callable, free_port: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], AbstractContextManager[None]]:
    """A tracking server, which may be started again with what it had."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    stores = ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--artifacts-destination", f"{tmp_path}/files"]
    arguments = ["mlflow", "server", *stores, "--port", str(port), "--workers", "1"]

    @contextmanager
    def running() -> Iterator[None]:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # or the server would look for itself
        with serve(arguments, f"{url}/health", tmp_path):
            monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
            yield

    return running


@pytest.fixture
def settings(small: list[str]) -> list[str]:
    return [*small, f"trainer.epochs={EPOCHS}", "trainer.early_stopping=null"]


def reach(process: subprocess.Popen, text: str) -> None:
    """Wait until a run prints something."""
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(process.stderr.read())


def whole_and_once() -> None:
    (row,) = leaderboard.rows()
    assert row["status"] == "FINISHED"
    for name in ("epoch/loss", "epoch/val_auc"):
        history = tracking.client().get_metric_history(row["run_id"], name)
        assert [metric.step for metric in history] == list(range(EPOCHS))
    assert len(tracking.client().get_metric_history(row["run_id"], "test/auc")) == 1
    assert (row["version"], row["alias"]) == ("1", "champion")
    assert len(tracking.client().search_model_versions()) == 1
    folder = registry.fetch("champion")
    assert Detector.load(folder).card.run_id == row["run_id"]
    artifacts = {file.path for file in tracking.client().list_artifacts(row["run_id"])}
    assert {"config.yaml", "model", "plots", "predictions.csv"} <= artifacts
    assert outbox.waiting() == []


def test_gone_for_a_while(server: Callable, home: Path, settings: list[str], start: Callable) -> None:
    with server():
        process = start("run.py", *settings)
        reach(process, f"epoch   2/{EPOCHS}")
    reach(process, f"epoch   4/{EPOCHS}")
    with server():
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
        if outbox.waiting():  # the run was over before it asked again
            assert subprocess.run([sys.executable, "-m", "deepfake", "sync"]).returncode == 0
        whole_and_once()


def test_gone_for_good(server: Callable, home: Path, settings: list[str], start: Callable, typed: Callable) -> None:
    with server():
        process = start("run.py", *settings)
        reach(process, f"epoch   2/{EPOCHS}")
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert "Traceback" not in stdout + stderr
    assert "did not take all of 1 runs: python -m deepfake sync sends it" in " ".join(stdout.split())

    refused = typed("-m", "deepfake", "sync")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: the tracking store http://127.0.0.1:")
    assert len(outbox.waiting()) == 1

    with server():
        sent = typed("-m", "deepfake", "sync")
        assert sent.returncode == 0, sent.stderr
        assert "all is sent, registered as deepfake-detector version 1, champion" in sent.stdout
        whole_and_once()
        assert "Nothing waits to be sent." in typed("-m", "deepfake", "sync").stdout


def test_killed_while_the_server_was_gone(
    server: Callable, home: Path, settings: list[str], start: Callable, typed: Callable
) -> None:
    with server():
        process = start("run.py", *settings)
        reach(process, f"epoch   2/{EPOCHS}")
    reach(process, f"epoch   5/{EPOCHS}")
    process.kill()
    process.communicate()
    (run_id,) = outbox.waiting()
    with server():
        done = typed("run.py", f"resume={run_id}")
        assert done.returncode == 0, done.stderr
        whole_and_once()


def test_not_there_from_the_start(home: Path, settings: list[str], typed: Callable, free_port: Callable) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = typed("run.py", *settings, MLFLOW_TRACKING_URI=url)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: the tracking store {url} cannot be used, is its server running?")
    assert len(done.stderr.splitlines()) == 1
