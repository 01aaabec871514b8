"""In what number format a model is trained."""

from pathlib import Path
from typing import Literal

CPU_INFO = Path("/proc/cpuinfo")


def choose(precision: Literal["auto", "float32", "bfloat16"]) -> Literal["float32", "bfloat16"]:
    """Resolve `auto`: bfloat16 where the hardware computes in it faster, float32 elsewhere.

    Those are GPUs of compute capability 8.0 or more, and processors with AMX. AVX-512 alone is not enough: with its
    bfloat16 instructions, the seed CNN at 128 px trained no faster than in float32 (TensorFlow 2.21).

    Args:
        precision: What the configuration says.

    Returns:
        The format to train in.
    """
    if precision != "auto":
        return precision
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    fast = all(detail.get("compute_capability", (0, 0)) >= (8, 0) for detail in details) if gpus else has_amx()
    return "bfloat16" if fast else "float32"


def has_amx() -> bool:
    """Say whether the processor multiplies matrices of bfloat16 in hardware; False where Linux does not tell."""
    return CPU_INFO.is_file() and " amx_bf16" in CPU_INFO.read_text()
