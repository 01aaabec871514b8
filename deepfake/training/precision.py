"""In what number format a model is trained."""

from pathlib import Path
from typing import Literal


def choose(precision: Literal["auto", "float32", "bfloat16"]) -> Literal["float32", "bfloat16"]:
    """Resolve `auto` to bfloat16 where the hardware computes in it, and to float32 elsewhere.

    Without such instructions bfloat16 is emulated, and slower than float32.

    Args:
        precision: What the configuration says.

    Returns:
        The format to train in.
    """
    if precision != "auto":
        return precision
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = (tf.config.experimental.get_device_details(gpu) for gpu in gpus)
        fast = all(detail.get("compute_capability", (0, 0)) >= (8, 0) for detail in details)
    else:
        fast = bool({"avx512_bf16", "amx_bf16"} & cpu_flags())
    return "bfloat16" if fast else "float32"


def cpu_flags() -> set[str]:
    """Return the instruction sets that Linux reports for this processor; nothing on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())
