"""Jobs side by side, on one machine and on a cluster: a file of its own, so that another worker runs it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from deepfake import leaderboard, tracking
from tests.sweep.conftest import run_py, the_sweep

POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))), None)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "ray"])
def test_jobs_side_by_side(home: Path, quick: list[str], launcher: str) -> None:
    if not find_spec(f"hydra_plugins.hydra_{launcher}_launcher"):
        pytest.skip(f"hydra-{launcher}-launcher is not installed")
    done = run_py("-m", *quick, "seed=1,2", f"hydra/launcher={launcher}")
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in leaderboard.rows(sweep=the_sweep()["id"])] == ["FINISHED"] * 2
    if launcher == "joblib":
        assert {line[:6] for line in done.stdout.splitlines() if " |   epoch" in line} == {"  0 | ", "  1 | "}
    else:
        assert not (Path.home() / ".ray" / "auth_token").exists()


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
            "-m", *quick, "seed=1,2,3", "hydra/launcher=ray", f"hydra.launcher.ray.init.address={ray_cluster}"
        )
        assert done.returncode == 0, done.stderr
        sweep = the_sweep()
        rows = leaderboard.rows(sweep=sweep["id"])
        assert [row["status"] for row in rows] == ["FINISHED"] * 3
        assert sorted(row["version"] for row in rows) == ["1", "2", "3"]
        began = sorted((row["start"], row["start"] + 1000 * row["seconds"]) for row in rows)
        assert began[1][0] < began[0][1]  # the second did not wait for the first
        assert sweep["best.run_id"] == rows[0]["run_id"]
        assert tracking.client().list_artifacts(sweep["id"], "comparison")
    assert not (new_home / "mlruns" / "mlflow.db").exists()
