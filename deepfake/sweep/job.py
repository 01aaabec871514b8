"""A job of a sweep: it runs in a process of its own, as `python run.py` with its overrides would.

TensorFlow keeps memory and state over many trainings; and a job that crashes, or is killed for want of memory, must not
take the others with it. Whatever launcher calls a job, it only waits for that process.
"""

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from deepfake import tracking
from deepfake.config import CONF, Config
from deepfake.console import out
from deepfake.errors import JobError
from deepfake.sweep import plan, record

LOG, RESULT = "job.log", "result.json"
GRACE = 60  # seconds that a job has to end in


def run(config: Config) -> float:
    """Run the job that Hydra's launcher has come to, unless a finished run holds its result.

    Where it was killed before, it goes on from its checkpoint.

    Args:
        config: Its settings.

    Returns:
        AUC on Validation.

    Raises:
        JobError: If it failed or was killed.
    """
    job = HydraConfig.get()
    number, overrides, folder = job.job.num, list(job.overrides.task), Path(job.runtime.output_dir)
    found = plan.done(config) if config.sweep.skip_finished else None
    if found and found.info.status == "FINISHED":
        auc = found.data.metrics[record.JUDGED]
        out.print(f"Job {number}: run {found.info.run_id[:8]} has it already, validation AUC {auc:.4f}")
        record.add_found(number, found.info.run_id, overrides)
        return auc
    if found:
        out.print(f"Job {number}: goes on with run {found.info.run_id[:8]}, which was killed")
        overrides = [f"resume={found.info.run_id}"]
    together = "JoblibLauncher" in job.launcher["_target_"]  # its jobs share a terminal, and Ray names them itself
    try:
        return run_process(overrides, number, folder, f"{number:>3} | " if together else "")
    except JobError as error:
        record.add_failed(number, str(error))
        raise


def run_process(overrides: Sequence[str], number: int, folder: Path, prefix: str = "") -> float:
    """Run one job in a process of its own, show what it prints, and keep that in its folder.

    Args:
        overrides: Its Hydra overrides.
        number: Its number in the sweep.
        folder: Its output folder.
        prefix: Of each line that is shown.

    Returns:
        AUC on Validation.

    Raises:
        JobError: If it failed or was killed.
    """
    (folder / RESULT).unlink(missing_ok=True)
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    command = [sys.executable, str(CONF.parent / "run.py"), *overrides, f"hydra.run.dir='{quoted}'"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", tracking.JOB: str(number)}
    environment.pop("HYDRA_FULL_ERROR", None)  # with it, what a person can mend would be a traceback
    pipe, both = subprocess.PIPE, subprocess.STDOUT
    with (
        (folder / LOG).open("w", encoding="utf-8") as log,
        subprocess.Popen(command, env=environment, text=True, errors="replace", stdout=pipe, stderr=both) as process,
        _ended_with_us(process),
    ):
        for line in process.stdout or ():
            log.write(line)
            print(prefix + line, end="", flush=True)
    try:
        return json.loads((folder / RESULT).read_text())["validation_auc"]
    except OSError:
        reason = _reason(process.returncode, folder / LOG)
        raise JobError(f"{reason}; its log on {platform.node()}: {folder / LOG}") from None


def write_result(folder: Path, auc: float) -> None:
    """Leave a finished job's AUC on Validation where `run` finds it."""
    (folder / RESULT).write_text(json.dumps({"validation_auc": auc}))


def _reason(code: int, log: Path) -> str:
    if code < 0:
        killed = " (for want of memory?)" if -code == signal.SIGKILL else ""
        return f"the job was ended by {signal.Signals(-code).name}{killed}"
    said = [line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("error: ")]
    return said[-1].removeprefix("error: ") if said else f"the job ended with exit code {code}"


@contextmanager
def _ended_with_us(process: subprocess.Popen) -> Iterator[None]:
    """If this process is told to end, let the job's end first: it records its run as killed."""
    try:
        with tracking.interruptible():
            yield
    except BaseException as told:
        if type(told) is not KeyboardInterrupt:  # that one, the keyboard sent to the job as well
            process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        process.kill()
        raise
