"""In what number format a model is trained."""

from typing import Literal


def choose(precision: Literal["auto", "float32", "bfloat16"]) -> Literal["float32", "bfloat16"]:
    """Resolve `auto`: bfloat16 on GPUs that compute in it (compute capability 8.0 or more), float32 elsewhere.

    Not on processors, though some have it. On one with AVX-512 and AMX (TensorFlow 2.21, seed CNN, 128 px), bfloat16
    through AVX-512 was no faster than float32 (about 210 against 230 to 300 images/s). Through AMX it was (about 480),
    but several trainings ended in one answer for all images, and where one was looked into, two convolutions' weights
    held NaN. No training in float32 did that.

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
    fast = bool(gpus) and all(detail.get("compute_capability", (0, 0)) >= (8, 0) for detail in details)
    return "bfloat16" if fast else "float32"
