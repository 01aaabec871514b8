"""Pixels -> P(fake), in batches, whatever the number of images."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

BATCH = 64


def scorer(model: "keras.Model") -> Callable[[np.ndarray], np.ndarray]:
    """Compile a model's forward pass.

    Args:
        model: Takes (N, size, size, 3) raw 0-255 RGB and returns (N, 1) P(fake).

    Returns:
        A function from images (N, size, size, 3), uint8, which may be mapped from the disk, to P(fake), shape (N,),
        float64, so that every later comparison with a threshold is made in the same precision.
    """
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)])
    def forward(batch: "tf.Tensor") -> "tf.Tensor":
        return model(tf.cast(batch, tf.float32), training=False)[:, 0]

    def score(images: np.ndarray) -> np.ndarray:
        parts = [forward(np.ascontiguousarray(images[i : i + BATCH])).numpy() for i in range(0, len(images), BATCH)]
        return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)

    return score
