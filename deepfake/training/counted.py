"""Training `model=rich` on counts of its patterns, which are made once, instead of on pictures.

Nothing before the weights of the patterns is learnt, and a picture's evidence is linear in how often each of them
occurs. So where every epoch shows the same pictures, counting once is all there is to do with pixels.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from tqdm import tqdm

from deepfake.config import Augmentation, Config, Rich
from deepfake.data.dataset import Split
from deepfake.data.mapped import read_rows
from deepfake.models import rich

_BATCH = 16


class _Evidence(layers.Layer):
    """The mean weight of the patterns of one kind, from how often each occurs; those that are alike have one weight."""

    def __init__(self, first: int, kind: rich.Kind, **options: Any) -> None:
        super().__init__(**options)
        self.first, self.alike = first, kind.alike
        self.channels, self.places = kind.numbers.shape[-1], _places(kind)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make the weights."""
        self.each = self.add_weight(name="each", shape=(self.channels, self.alike.max() + 1), initializer="uniform")

    def call(self, counts: tf.Tensor) -> tf.Tensor:
        """Return (N, channels) of counts (N, all)."""
        own = counts[:, self.first : self.first + int(np.prod(self.each.shape))]
        return tf.einsum("ncp,cp->nc", tf.reshape(own, (-1, *self.each.shape)), self.each) / self.places

    def plain(self) -> list[np.ndarray]:
        """Return the weights of the embedding that says the same at each place."""
        return [self.each.numpy()[:, self.alike].reshape(-1, 1)]


def pays(config: Config) -> bool:
    """Say whether a run sees all its pictures as they are in every epoch, and learns nothing but weights of counts."""
    if config.trainer.limit_batches:
        return False
    as_they_are = Augmentation(name=config.augmentation.name, border=config.augmentation.border)
    return isinstance(config.model, Rich) and config.augmentation == as_they_are


def count(network: keras.Model, split: Split, folder: Path) -> Split:
    """Count the patterns of each picture.

    Args:
        network: Of `model=rich`.
        split: Pictures, (N, side, side, 3), uint8.
        folder: Where the counts lie, in a file that nobody else sees and that goes with the process: like pixels they
            are mapped from the disk, as those of many pictures would not fit into memory.

    Returns:
        The split with counts in the place of its pictures: (N, all), of the least unsigned type that holds them.

    Raises:
        OSError: If the disk has no room for them.
    """
    found = rich.kinds(network)
    numbers = keras.Model(network.input, [kind.numbers for kind in found])

    @tf.function(input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8)])
    def counted(pictures: tf.Tensor) -> tf.Tensor:
        maps = numbers(tf.cast(pictures, tf.float32), training=False)
        return tf.concat([_counts(of_kind, kind.alike) for of_kind, kind in zip(maps, found, strict=True)], axis=1)

    folder.mkdir(parents=True, exist_ok=True)
    total, dtype = len(split.images), np.min_scalar_type(_places(found[0]))
    bar = tqdm(desc="Counting patterns", total=total, unit=" images", leave=False, disable=None)
    with bar, tempfile.TemporaryFile(dir=folder) as file:
        for start in range(0, total, _BATCH):
            part = counted(read_rows(split.images, slice(start, start + _BATCH))).numpy()
            file.write(part.astype(dtype).tobytes())
            bar.update(len(part))
        file.flush()
        return replace(split, images=np.memmap(file, dtype, "r", shape=(total, sum(map(_size, found)))))


def _places(kind: rich.Kind) -> int:
    return int(np.prod(kind.numbers.shape[1:3]))


def _size(kind: rich.Kind) -> int:
    return int(kind.numbers.shape[-1] * (kind.alike.max() + 1))


def _counts(numbers: tf.Tensor, alike: np.ndarray) -> tf.Tensor:
    """Count what is alike in each channel: of numbers (N, rows, columns, channels), float32 (N, channels * kinds)."""
    channels = numbers.shape[-1]
    flat = tf.reshape(tf.cast(numbers, tf.int32), (-1, int(np.prod(numbers.shape[1:]))))
    patterns = channels * len(alike)
    each = tf.math.bincount(flat, minlength=patterns, maxlength=patterns, axis=-1, dtype=tf.float32)
    together = np.eye(alike.max() + 1, dtype=np.float32)[alike]
    return tf.reshape(tf.reshape(each, (-1, channels, len(alike))) @ together, (-1, channels * together.shape[1]))


def twin(network: keras.Model) -> keras.Model:
    """Build what computes the same of counts, with weights of its own.

    Args:
        network: Of `model=rich`, for pictures.

    Returns:
        A model of layers of the same names, without those that are not learnt. It takes counts, (N, all).
    """
    found = rich.kinds(network)
    sizes = [_size(kind) for kind in found]
    counts = keras.Input((sum(sizes),), dtype="float32", name="counts")
    evidence = [
        _Evidence(sum(sizes[:before]), kind, dtype="float32", name=kind.weight)(counts)
        for before, kind in enumerate(found)
    ]
    x = layers.Concatenate(dtype="float32", name="evidence")(evidence)
    for name in ("norm", "dropout", "logit", "p_fake"):
        layer = network.get_layer(name)
        x = type(layer).from_config(layer.get_config())(x)
    return keras.Model(counts, x, name=network.name)
