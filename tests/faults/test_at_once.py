"""Many runs at once, on a new `mlruns/` and a new cache: each is whole, and the images are decoded once."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from deepfake import leaderboard, registry, tracking
from deepfake.detector import Detector

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("count", [2, 16])
def test_runs_at_once(count: int, home: Path, small: list[str], start: Callable) -> None:
    settings = [*small, "trainer.epochs=1"]
    processes = [start("run.py", *settings, f"seed={seed}", OMP_NUM_THREADS="1") for seed in range(count)]
    for process in processes:
        _, stderr = process.communicate(timeout=1500)
        assert process.returncode == 0, stderr

    rows = leaderboard.rows()
    assert [row["status"] for row in rows] == ["FINISHED"] * count
    assert sorted(row["params"]["seed"] for row in rows) == sorted(map(str, range(count)))
    assert sorted(int(row["version"]) for row in rows) == list(range(1, count + 1))
    assert [row["alias"] for row in rows].count("champion") == 1
    for row in rows:
        folder = registry.fetch(f"runs:/{row['run_id']}/model")
        assert Detector.load(folder).card.run_id == row["run_id"]
        steps = tracking.client().get_metric_history(row["run_id"], "epoch/loss")
        assert [metric.step for metric in steps] == [0]
    with closing(sqlite3.connect(tracking.database())) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert len(list(home.glob("data/cache/*/pixels.u8"))) == 1
    assert not list(home.glob("data/cache/*.partial"))
