"""Sweeps as they are typed, with real jobs."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deepfake import leaderboard
from tests.sweep.conftest import ROOT, run_py, the_sweep


@pytest.mark.slow
def test_a_sweep_goes_on_past_a_job_that_fails_and_typed_again_runs_only_that(home: Path, quick: list[str]) -> None:
    command = ["-m", *quick, "trainer.batch_size=500,16,8"]
    done = run_py(*command)
    assert done.returncode == 1
    assert "1 of 3 jobs failed" in done.stderr
    [log] = home.glob("mlruns/hydra/*/*-sweep/0/job.log")
    assert re.search(rf"  job 0: .*fewer than trainer.batch_size=500.*; its log on .*: {log}\n", done.stderr)
    assert "Traceback" not in done.stderr + done.stdout
    sweep = the_sweep()
    assert sweep["status"] == "FAILED"
    rows = leaderboard.rows(sweep=sweep["id"])
    assert sorted(row["status"] for row in rows) == ["FAILED", "FINISHED", "FINISHED"]
    finished = [row for row in rows if row["status"] == "FINISHED"]
    assert {row["overrides"]["trainer.batch_size"] for row in finished} == {"16", "8"}
    assert sorted(row["version"] for row in finished) == ["1", "2"]
    assert [row["alias"] for row in finished].count("champion") == 1
    assert f"Best: job {rows[0]['job']} (trainer.batch_size=" in done.stdout
    assert not (ROOT / "multirun").exists()
    assert not (ROOT / "outputs").exists()

    dry = run_py(*command, "sweep.dry_run=true")
    assert dry.returncode == 0
    assert "1 of 3 jobs to be run" in dry.stdout
    again = run_py(*command)
    assert again.returncode == 1
    for row in finished:
        assert f"Job {row['job']}: run {row['run_id'][:8]} has it already" in again.stdout
    assert the_sweep()["id"] == sweep["id"]
    assert len(leaderboard.rows()) == 4


def test_a_mistake_in_one_job_stops_the_sweep_before_it_begins(new_home: Path, quick: list[str]) -> None:
    done = run_py("-m", *quick, "model.dropout=0.5,3")
    assert done.returncode == 1
    assert done.stderr == "error: job 1 (model.dropout=3): model.dropout=3: should be less than 1\n"
    assert not (new_home / "mlruns" / "mlflow.db").exists()


def test_a_dry_run_of_a_single_run(home: Path, quick: list[str]) -> None:
    done = run_py(*quick, "sweep.dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "1 of 1 jobs to be run" in done.stdout
    assert leaderboard.rows() == []


@pytest.mark.slow
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_ended_is_killed_and_goes_on(home: Path, small: list[str], told: signal.Signals) -> None:
    command = ["-m", *small, "seed=1,2", "trainer.epochs=40", "trainer.early_stopping=null", "tracking.register=false"]
    process = [sys.executable, "run.py", *command]
    with subprocess.Popen(process, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as sweep:
        assert any(line.startswith("  epoch   2/") for line in sweep.stdout)
        if told == signal.SIGINT:
            os.killpg(sweep.pid, told)  # as the keyboard does
        else:
            sweep.send_signal(told)
        sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    (row,) = leaderboard.rows()
    assert (row["status"], the_sweep()["status"]) == ("KILLED", "KILLED")
    if told == signal.SIGTERM:
        return  # from there on it is the same
    done = run_py(*command)
    assert done.returncode == 0, done.stderr
    assert f"Job 0: goes on with run {row['run_id'][:8]}" in done.stdout
    assert the_sweep()["status"] == "FINISHED"
    assert [(row["status"], row["sweep"]) for row in leaderboard.rows()] == [("FINISHED", the_sweep()["id"])] * 2


@pytest.mark.slow
def test_a_search_names_its_best_trial(home: Path, quick: list[str]) -> None:
    search = ["-m", *quick, "search=optimizer", "hydra/sweeper=optuna"]
    done = run_py(*search, "hydra.sweeper.n_trials=1")
    assert done.returncode == 0, done.stderr
    assert "Best: job 0 (" in done.stdout
    first = the_sweep()["id"]
    more = run_py(*search, "hydra.sweeper.n_trials=2")
    assert more.returncode == 0, more.stderr
    assert "1 of 2 trials already" in more.stdout
    rows, sweep = leaderboard.rows(), the_sweep()
    assert [row["sweep"] for row in rows] == [first] * 2
    best = rows[0]
    assert (sweep["best.run_id"], sweep["best.job"]) == (best["run_id"], str(best["job"]))
    assert f"Best: job {best['job']} (" in more.stdout
    assert f"optimizer.learning_rate={best['params']['optimizer.learning_rate']}" in sweep["best.overrides"]
