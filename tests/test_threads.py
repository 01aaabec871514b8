"""Jobs that share a machine are told by OMP_NUM_THREADS how much of it is theirs."""

import os
import subprocess
import sys

import pytest

from deepfake import threads


@pytest.mark.parametrize(("told", "count"), [("3", 3), ("0", None), ("many", None), (None, None)])
def test_how_many(monkeypatch: pytest.MonkeyPatch, told: str | None, count: int | None) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if told is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert threads.count() == count or (count is None and threads.count() == len(os.sched_getaffinity(0)))


def test_tensorflow_keeps_to_it() -> None:
    code = (
        "from deepfake import quiet; quiet.import_tensorflow(); import os, tensorflow as tf; tf.zeros(3) + 1; "
        "print(os.environ['TF_NUM_INTRAOP_THREADS'], len(os.listdir('/proc/self/task')))"
    )

    def started(told: str) -> tuple[str, int]:
        environment = os.environ | {"OMP_NUM_THREADS": told}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        intraop, running = done.stdout.split()
        return intraop, int(running)

    (one, fewer), (many, more) = started("1"), started("8")
    assert (one, many) == ("1", "8")
    assert more > fewer


def test_a_process_can_be_left_while_threads_still_work() -> None:
    code = (
        "import atexit, threading, time\n"
        "from deepfake import threads\n"
        "atexit.register(print, 'what is due at the end is done')\n"
        "threading.Thread(target=time.sleep, args=[60]).start()\n"
        "print('and what was printed is shown')\n"
        "threads.leave(130)"
    )
    left = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert left.returncode == 130
    assert left.stdout.splitlines() == ["and what was printed is shown", "what is due at the end is done"]
