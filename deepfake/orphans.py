"""Runs whose process is gone: each holds a lock while it goes on, which the system frees however its process ends."""

import atexit
import platform
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from filelock import FileLock, Timeout

from deepfake.config import home

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

HOST, LOCK = "host", "lock"  # tags of a run: the machine, and the path of the lock there


def hold() -> dict[str, str]:
    """Take a lock that is this process's to its end.

    Returns:
        The tags that show others which lock it is; a run gets them before it is RUNNING, or others may end it.
    """
    folder = home() / "mlruns" / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{uuid4().hex}.lock")
    lock.acquire()
    atexit.register(_let_go, lock)
    return {HOST: platform.node(), LOCK: str(lock.lock_file)}


def _let_go(lock: FileLock) -> None:
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def is_alive(run: "MlflowRun") -> bool | None:
    """Say whether the process of a RUNNING run is there; None of another machine's or home's, as nobody can tell."""
    tags = run.data.tags
    path = Path(tags.get(LOCK, ""))
    if tags.get(HOST) != platform.node() or not path.name or not path.parent.is_dir():
        return None
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return None
    _let_go(lock)
    return False


def end(connected: "MlflowClient") -> None:
    """Mark the orphans among the runs of this machine KILLED."""
    experiments = [experiment.experiment_id for experiment in connected.search_experiments()]
    ours = f"attributes.status = 'RUNNING' and tags.{HOST} = '{platform.node()}'"
    for run in connected.search_runs(experiments, ours):
        if is_alive(run) is False:
            connected.set_terminated(run.info.run_id, "KILLED")
