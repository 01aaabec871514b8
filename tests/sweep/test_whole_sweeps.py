"""Sweeps as they are typed, with real jobs."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from deepfake import leaderboard, tracking
from deepfake.config import CONF

ROOT = CONF.parent
POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))), None)


def run_py(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "run.py", *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture
def quick(small: list[str]) -> list[str]:
    return [*small, "trainer.epochs=1"]


def the_sweep() -> dict:
    """The only sweep in the store: its status and tags."""
    client = tracking.client()
    everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
    (run,) = client.search_runs(everywhere, f"tags.`{tracking.VARIED}` LIKE '%'")
    return {"id": run.info.run_id, "status": run.info.status, **run.data.tags}


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
@pytest.mark.parametrize("launcher", ["joblib", "ray"])
def test_jobs_side_by_side(home: Path, quick: list[str], launcher: str) -> None:
    if not find_spec(f"hydra_plugins.hydra_{launcher}_launcher"):
        pytest.skip(f"hydra-{launcher}-launcher is not installed")
    done = run_py("-m", *quick, "seed=1,2,3", f"hydra/launcher={launcher}")
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in leaderboard.rows(sweep=the_sweep()["id"])] == ["FINISHED"] * 3
    if launcher == "joblib":
        assert {line[:6] for line in done.stdout.splitlines() if " |   epoch" in line} == {"  0 | ", "  1 | ", "  2 | "}
    else:
        assert not (Path.home() / ".ray" / "auth_token").exists()


@pytest.mark.slow
def test_a_search_names_its_best_trial(home: Path, quick: list[str]) -> None:
    search = ["-m", *quick, "search=optimizer", "hydra/sweeper=optuna"]
    done = run_py(*search, "hydra.sweeper.n_trials=2")
    assert done.returncode == 0, done.stderr
    best = leaderboard.rows()[0]
    sweep = the_sweep()
    assert (sweep["best.run_id"], sweep["best.job"]) == (best["run_id"], str(best["job"]))
    assert f"Best: job {best['job']} (" in done.stdout
    assert f"optimizer.learning_rate={best['params']['optimizer.learning_rate']}" in sweep["best.overrides"]
    more = run_py(*search, "hydra.sweeper.n_trials=3")
    assert more.returncode == 0, more.stderr
    assert "2 of 3 trials already" in more.stdout
    assert [row["sweep"] for row in leaderboard.rows()] == [sweep["id"]] * 3


@pytest.mark.slow
def test_every_experiment_runs(home: Path) -> None:
    tiny = [
        "dataset=synthetic",
        "dataset.images=60",
        "dataset.image_size=32",
        "trainer.epochs=1",
        "trainer.batch_size=8",
    ]
    done = run_py("-m", "experiment=glob(*)", *tiny)
    assert done.returncode == 0, done.stderr
    names = {path.stem for path in (CONF / "experiment").glob("*.yaml")}
    rows = leaderboard.rows()
    assert {row["overrides"]["experiment"] for row in rows} == names
    assert {row["status"] for row in rows} == {"FINISHED"}


@pytest.fixture
def postgres() -> Iterator[str]:
    """A PostgreSQL server of the test's own; the address of an empty database in it."""
    if not POSTGRES:
        pytest.skip("PostgreSQL is not installed")
    folder, port = Path(tempfile.mkdtemp()), "5917"  # not pytest's, which only its own user may enter
    as_user = []
    if os.getuid() == 0:  # which PostgreSQL refuses to run as
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    control = [*as_user, str(POSTGRES), "-D", str(folder / "data"), "-w", "-l", str(folder / "log")]
    subprocess.run([*control, "initdb", "-o", "-A trust -U faces"], check=True, capture_output=True)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
    subprocess.run([*control, "-o", options, "start"], check=True, stdout=subprocess.DEVNULL)
    try:
        yield f"postgresql://faces@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder)


@pytest.fixture
def ray_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A Ray of two workers, started as on a cluster's first machine; its address."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray, port = [sys.executable, "-m", "ray.scripts.scripts"], "6397"
    start = ["start", "--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats"]
    subprocess.run([*ray, *start], check=True, capture_output=True)
    yield f"127.0.0.1:{port}"
    subprocess.run([*ray, "stop", "--force"], check=True, capture_output=True)


@pytest.mark.slow
def test_a_cluster_logs_to_one_server(
    new_home: Path, quick: list[str], tmp_path: Path, serve: Callable, postgres: str, ray_cluster: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pytest.importorskip("psycopg")
    url = "http://127.0.0.1:5916"
    stores = ["--backend-store-uri", postgres, "--artifacts-destination", f"{tmp_path}/files"]
    with serve(["mlflow", "server", *stores, "--port", "5916", "--workers", "1"], f"{url}/health", tmp_path):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        done = run_py(
            "-m", *quick, "seed=1,2,3,4", "hydra/launcher=ray", f"hydra.launcher.ray.init.address={ray_cluster}"
        )
        assert done.returncode == 0, done.stderr
        sweep = the_sweep()
        rows = leaderboard.rows(sweep=sweep["id"])
        assert [row["status"] for row in rows] == ["FINISHED"] * 4
        assert sorted(row["version"] for row in rows) == ["1", "2", "3", "4"]
        began = sorted((row["start"], row["start"] + 1000 * row["seconds"]) for row in rows)
        assert began[1][0] < began[0][1]  # the second did not wait for the first
        assert sweep["best.run_id"] == rows[0]["run_id"]
        assert tracking.client().list_artifacts(sweep["id"], "comparison")
    assert not (new_home / "mlruns" / "mlflow.db").exists()
