"""Decoded images -> shuffled, augmented batches for training, as a `tf.data.Dataset`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from deepfake import threads
from deepfake.data.dataset import Split
from deepfake.data.mapped import read_rows
from deepfake.data.pairs import Pairs, in_halves

if TYPE_CHECKING:
    import tensorflow as tf

Transform = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Plan:
    """Which images make which step: `batch_size` a step, `steps` an epoch, in an order drawn from `seed`.

    With `pairs`, the first half of a batch is real, and the second are the fakes that are paired with them. `side` is
    that of the images in pixels once they are transformed, if it is not the split's.
    """

    batch_size: int
    steps: int
    seed: int
    pairs: Pairs | None = None
    side: int | None = None


def training(split: Split, transform: Transform, plan: Plan, epochs: range) -> "tf.data.Dataset":
    """Make the batches of some epochs.

    An epoch's batches are always the same, whatever was trained before it in this process: order and augmentation
    follow from the seed and the epoch alone. That is what lets an interrupted run continue as if nothing had happened.

    Args:
        split: The images.
        transform: Augments a batch: (images (N, H, W, 3) uint8, labels (N, 1) float32, random generator) -> images
            (N, side, side, 3) uint8, labels (N, 1) float32.
        plan: Size, number and seed of the batches.
        epochs: The epochs, counted from 0.

    Returns:
        A `tf.data.Dataset` of (images (N, side, side, 3) uint8, labels (N, 1) float32); of counts instead of images
        where the split holds those.
    """
    import cv2
    import tensorflow as tf

    cv2.setNumThreads(1)  # the batches themselves are made in parallel

    @lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        rng = np.random.default_rng([plan.seed, epoch])
        return in_halves(plan.pairs.draw(rng), plan.batch_size) if plan.pairs else rng.permutation(len(split.labels))

    def make(step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        epoch, place = divmod(int(step), plan.steps)
        chosen = order(epoch)[place * plan.batch_size : (place + 1) * plan.batch_size]
        labels = np.arange(len(chosen)) >= len(chosen) // 2 if plan.pairs else split.labels[chosen]
        rng = np.random.default_rng([plan.seed, epoch, place])
        return transform(read_rows(split.images, chosen), labels[:, None].astype(np.float32), rng)

    shape = (plan.side, plan.side, 3) if plan.side else split.images.shape[1:]

    def batch(step: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        images, labels = tf.numpy_function(make, [step], (split.images.dtype, tf.float32))
        images.set_shape((None, *shape))
        labels.set_shape((None, 1))
        return images, labels

    numbers = tf.data.Dataset.range(epochs.start * plan.steps, epochs.stop * plan.steps)
    options = tf.data.Options()
    options.autotune.enabled = False  # nothing is left to tune, and its thread would sleep on at the end of an epoch
    return numbers.map(batch, num_parallel_calls=threads.count(), deterministic=True).prefetch(4).with_options(options)
