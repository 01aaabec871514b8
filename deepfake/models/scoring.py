"""Pixels -> P(fake), in batches, whatever the number of images."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from deepfake.data.cache import read_rows

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
        return model(tf.cast(batch, model.inputs[0].dtype), training=False)[:, 0]

    def score(images: np.ndarray) -> np.ndarray:
        starts = range(0, len(images), BATCH)
        parts = [forward(read_rows(images, slice(start, start + BATCH))).numpy() for start in starts]
        return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)

    return score
