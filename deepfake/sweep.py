"""A sweep's jobs: each runs in a process of its own, as `python run.py` with its overrides would.

TensorFlow keeps memory and state over many trainings; and a job that crashes, or is killed for want of memory, must not
take the others with it. Whatever launcher calls a job, it only waits for that process.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from deepfake.config import CONF
from deepfake.console import complain
from deepfake.errors import DeepfakeError

LOG, RESULT = "job.log", "result.json"
GRACE = 60  # seconds that a job has to end in


class JobError(DeepfakeError):
    """A job that failed; `folder` is where its log lies."""

    def __init__(self, message: str, folder: Path) -> None:
        super().__init__(message, folder)  # both, so that it survives the way home from another process
        self.folder = folder

    def __str__(self) -> str:
        return self.args[0]


def run_job(overrides: Sequence[str], folder: Path) -> float:
    """Run one job, show what it prints, and keep that in its folder.

    Args:
        overrides: Its Hydra overrides.
        folder: Its output folder.

    Returns:
        AUC on Validation.

    Raises:
        JobError: If it failed or was killed.
    """
    (folder / RESULT).unlink(missing_ok=True)
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    command = [sys.executable, str(CONF.parent / "run.py"), *overrides, f"hydra.run.dir='{quoted}'"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    environment.pop("HYDRA_FULL_ERROR", None)  # with it, what a person can mend would be a traceback
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with (
        (folder / LOG).open("w", encoding="utf-8") as log,
        subprocess.Popen(command, env=environment, text=True, errors="replace", **pipes) as process,
        _ended_with_us(process),
    ):
        for line in process.stdout or ():
            log.write(line)
            print(line, end="", flush=True)
    try:
        return json.loads((folder / RESULT).read_text())["validation_auc"]
    except OSError:
        raise JobError(f"{_reason(process.returncode, folder / LOG)}; its log: {folder / LOG}", folder) from None


def write_result(folder: Path, auc: float) -> None:
    """Leave a finished job's AUC on Validation where `run_job` finds it."""
    (folder / RESULT).write_text(json.dumps({"validation_auc": auc}))


def name_failures(error: DeepfakeError) -> None:
    """At the end of a sweep, print which of its jobs left no result, and where their logs lie; `error` is of one."""
    if not isinstance(error, JobError):
        return
    logs = sorted(error.folder.parent.glob(f"*/{LOG}"), key=lambda log: (len(log.parent.name), log.parent.name))
    failed = [log for log in logs if not (log.parent / RESULT).is_file()]
    complain(f"{len(failed)} of {len(logs)} jobs failed; what they printed: {', '.join(map(str, failed))}")


def _reason(code: int, log: Path) -> str:
    if code < 0:
        killed = " (for want of memory?)" if -code == signal.SIGKILL else ""
        return f"the job was ended by {signal.Signals(-code).name}{killed}"
    said = [line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("error: ")]
    return said[-1].removeprefix("error: ") if said else f"the job ended with exit code {code}"


@contextmanager
def _ended_with_us(process: subprocess.Popen) -> Iterator[None]:
    """If this process is told to end, let the job's end first: it records its run as killed."""
    before = None
    with suppress(ValueError):  # not the main thread: a launcher's worker, which ends by its own means
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    except BaseException as told:
        if not isinstance(told, KeyboardInterrupt):  # that one, the keyboard sent to the job as well
            process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        process.kill()
        raise
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
