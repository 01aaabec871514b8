"""How many threads this process may compute with, and how it ends while some still do."""

import atexit
import os
import sys
from typing import NoReturn


def count() -> int:
    """Return `OMP_NUM_THREADS`, which launchers set where jobs share a machine, or the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return _told() or len(os.sched_getaffinity(0))
    return _told() or os.cpu_count() or 1


def bound_tensorflow() -> None:
    """Hold TensorFlow, before it is imported, to `OMP_NUM_THREADS`, at which it does not look itself."""
    if _told():
        for kind in ("INTRAOP", "INTEROP"):
            os.environ.setdefault(f"TF_NUM_{kind}_THREADS", str(_told()))


def leave(code: int) -> NoReturn:
    """End the process while threads of TensorFlow still make batches.

    An interrupted training leaves them behind. `sys.exit` would take Python down under them, and now and then the
    process with a segmentation fault, whatever exit code was meant.

    Args:
        code: The exit code.
    """
    atexit._run_exitfuncs()  # as `sys.exit` would
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _told() -> int | None:
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() and int(told) else None
