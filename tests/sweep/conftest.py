"""What every sweep's test needs: to type one, and to find it in the store."""

import subprocess
import sys

import pytest

from deepfake import tracking
from deepfake.config import CONF

ROOT = CONF.parent


def run_py(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "run.py", *arguments], cwd=ROOT, capture_output=True, text=True)


def the_sweep() -> dict:
    """The only sweep in the store: its status and tags."""
    client = tracking.client()
    everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
    (run,) = client.search_runs(everywhere, f"tags.`{tracking.VARIED}` LIKE '%'")
    return {"id": run.info.run_id, "status": run.info.status, **run.data.tags}


@pytest.fixture
def quick(small: list[str]) -> list[str]:
    return [*small, "trainer.epochs=1"]
