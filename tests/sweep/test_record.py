"""The run of a whole sweep: its jobs are nested in it, and it says what came of them."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from deepfake import leaderboard, tracking
from deepfake.config import compose
from deepfake.data.dataset import load
from deepfake.errors import ConfigError
from deepfake.sweep import plan, record


@pytest.fixture
def sweep(home: Path, small: list[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Begin a sweep as its command would; returns the id of its run."""
    for name in (tracking.SWEEP, tracking.JOB, "PYTHONPATH"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)

    def begin(*overrides: str) -> str:
        typed = [*small, *overrides]
        record.begin(plan.expand(typed), typed)
        return os.environ[tracking.SWEEP]

    return begin


@pytest.fixture
def job(small: list[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A job that says it reached an AUC; returns the id of its run."""

    def run(number: int, auc: float, *overrides: str) -> str:
        monkeypatch.setenv(tracking.JOB, str(number))
        monkeypatch.setattr(sys, "argv", ["run.py", *small, *overrides])
        config = compose([*small, *overrides])
        with tracking.run(config, load(config.dataset)) as begun:
            begun.log_metrics("Validation", {"auc": auc})
            begun.log_metrics("Test", {"auc": auc - 0.1})
        return begun.id

    return run


@pytest.fixture
def client(home: Path) -> MlflowClient:
    return tracking.client()


def test_the_jobs_are_nested_and_compared(
    sweep: Callable, job: Callable, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = sweep("augmentation=none,heavy", "seed=1,2")
    jobs = [job(0, 0.7, "augmentation=none", "seed=1"), job(3, 0.9, "augmentation=heavy", "seed=2")]
    record.conclude(parent, "FINISHED")
    best = client.get_run(jobs[1]).data.tags
    assert best["mlflow.parentRunId"] == parent
    assert (best["sweep.job"], best["override.augmentation"], best["override.seed"]) == ("3", "heavy", "2")
    assert best["mlflow.runName"] == "augmentation=heavy seed=2"
    assert best["sweep.best"] == "true"
    assert "sweep.best" not in client.get_run(jobs[0]).data.tags
    run = client.get_run(parent)
    assert run.info.status == "FINISHED"
    assert run.data.tags["best.run_id"] == jobs[1]
    assert run.data.tags["best.overrides"] == "augmentation=heavy seed=2"
    assert run.data.metrics == {"best/validation/auc": 0.9, "best/test/auc": 0.8}
    kept = [Path(entry.path).name for entry in client.list_artifacts(parent, "comparison")]
    assert kept == ["comparison.html", "factors.png", "over_seeds.csv", "runs.csv"]
    shown = capsys.readouterr().out
    assert f"Best: job 3 (augmentation=heavy seed=2), validation AUC 0.9000, test AUC 0.8000, run {jobs[1]}" in shown
    assert f"runs --sweep {parent[:8]}" in shown


def test_the_same_command_goes_on_with_its_sweep(sweep: Callable, job: Callable, client: MlflowClient) -> None:
    parent = sweep("seed=1,2")
    first = job(0, 0.9, "seed=1")
    record.add_failed(1, "no memory; its log on here: job.log")
    record.conclude(parent, "KILLED")
    assert sweep("seed=1,2", "sweep.dry_run=false") == parent
    assert client.get_run(parent).info.status == "RUNNING"
    assert not any(tag.startswith(record.FAILED) for tag in client.get_run(parent).data.tags)
    second = job(1, 0.95, "seed=2")
    record.conclude(parent, "FINISHED")
    assert "sweep.best" not in client.get_run(first).data.tags
    assert client.get_run(second).data.tags["sweep.best"] == "true"
    assert sweep("seed=1,2,3") != parent
    assert sweep("seed=1,2", "sweep.skip_finished=false") != parent


def test_a_sweep_that_is_going_on_is_left_alone(sweep: Callable, client: MlflowClient) -> None:
    parent = sweep("seed=1,2")
    assert sweep("seed=1,2") != parent


def test_a_sweep_whose_process_is_gone_is_taken_up_again(sweep: Callable, client: MlflowClient, home: Path) -> None:
    parent = sweep("seed=1,2")
    client.set_tag(parent, "lock", str(home / "mlruns" / "locks" / "free.lock"))
    assert sweep("seed=1,2") == parent


def test_a_job_that_was_killed_without_a_word_is_killed(sweep: Callable, job: Callable, client: MlflowClient) -> None:
    parent = sweep("seed=1,2")
    silent = job(0, 0.9, "seed=1")
    client.update_run(silent, status="RUNNING")
    record.conclude(parent, "FAILED")
    assert [row["status"] for row in leaderboard.rows()] == ["KILLED"]


def test_what_an_earlier_run_did_is_compared_too(
    sweep: Callable, job: Callable, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = job(0, 0.8, "seed=1")
    parent = sweep("seed=1,2")
    record.add_found(0, earlier, ["seed=1", "trainer.epochs=2"])
    job(1, 0.7, "seed=2")
    record.conclude(parent, "FINISHED")
    assert json.loads(client.get_run(parent).data.tags["sweep.found.0"])["overrides"] == {"seed": "1"}
    assert f"Best: job 0 (seed=1), validation AUC 0.8000, test AUC 0.7000, run {earlier}" in capsys.readouterr().out
    assert leaderboard.rows(sweep=parent)[0]["run_id"] != earlier  # it stays where it was


def test_the_jobs_that_failed_are_named(sweep: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    parent = sweep("seed=range(0,12)")
    record.add_failed(10, "the job was ended by SIGKILL; its log on here: 10/job.log")
    record.add_failed(9, "no such data; its log on here: 9/job.log")
    record.conclude(parent, "FAILED")
    said = capsys.readouterr().err
    assert "2 of 12 jobs failed" in said
    assert said.index("job 9: no such data; its log on here: 9/job.log") < said.index("job 10: the job was ended")


def test_whatever_way_it_ends(sweep: Callable, client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, status in ((KeyboardInterrupt(), "KILLED"), (SystemExit(15), "KILLED"), (ConfigError("x"), "FAILED")):
        monkeypatch.delenv(tracking.SWEEP, raising=False)
        with pytest.raises(type(error)), record.concluded():
            parent = sweep("seed=1,2", "sweep.skip_finished=false")
            raise error
        assert client.get_run(parent).info.status == status


def test_a_job_does_not_conclude_the_sweep_that_started_it(sweep: Callable, client: MlflowClient) -> None:
    parent = sweep("seed=1,2")
    with record.concluded():
        pass
    assert client.get_run(parent).info.status == "RUNNING"
