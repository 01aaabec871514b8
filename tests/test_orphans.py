"""Runs whose process is gone without a word are ended by the next start; those that go on are left alone."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deepfake import leaderboard, tracking
from deepfake.config import CONF, compose
from deepfake.data.dataset import load
from deepfake.errors import TrackingError

RUN = """
import sys, time
from deepfake import tracking
from deepfake.config import compose
from deepfake.data.dataset import load
config = compose(sys.argv[1:])
with tracking.run(config, load(config.dataset)) as record:
    print(record.id, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def another(home: Path, small: list[str]) -> Iterator[Callable[[], tuple[subprocess.Popen, str]]]:
    """A run in another process, which goes on until it is killed: that process, and the run's id."""
    begun = []

    def begin() -> tuple[subprocess.Popen, str]:
        command = [sys.executable, "-c", RUN, *small]
        begun.append(subprocess.Popen(command, cwd=CONF.parent, stdout=subprocess.PIPE, text=True))
        return begun[-1], begun[-1].stdout.readline().strip()

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def statuses() -> dict[str, str]:
    return {row["run_id"]: row["status"] for row in leaderboard.rows()}


def test_the_next_start_ends_what_was_killed(another: Callable, home: Path, small: list[str]) -> None:
    (gone, killed), (_, alive) = another(), another()
    gone.kill()
    gone.wait()
    assert statuses() == {killed: "RUNNING", alive: "RUNNING"}
    config = compose(small)
    with tracking.run(config, load(config.dataset)) as ours:
        assert statuses() == {killed: "KILLED", alive: "RUNNING", ours.id: "RUNNING"}
    assert len(list((home / "mlruns" / "locks").iterdir())) == 2  # of this process and the other


def test_a_run_that_goes_on_is_not_resumed_beside_it(another: Callable, small: list[str]) -> None:
    process, run_id = another()
    config = tracking.resumed_config(run_id)
    refused = f"^resume={run_id}: that run is still going on, as process {process.pid}$"
    with pytest.raises(TrackingError, match=refused), tracking.run(config, load(config.dataset)):
        pass
    process.kill()
    process.wait()
    with tracking.run(config, load(config.dataset)) as record:
        assert record.id == run_id
    assert statuses() == {run_id: "FINISHED"}
