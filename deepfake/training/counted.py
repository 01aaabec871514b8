"""Training `model=rich` and `model=dct` on counts of their patterns, which are made once, instead of on pictures.

Nothing before the weights of the patterns is learnt, and a picture's evidence is linear in how often each of them
occurs. So where every epoch shows the same pictures, counting once is all there is to do with pixels.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from tqdm import tqdm

from deepfake.config import Augmentation, Config, Dct, Rich
from deepfake.data.dataset import Split
from deepfake.data.mapped import read_rows
from deepfake.models import dct, rich
from deepfake.models.patterns import Kind

_BATCH = 2  # of more, the system would clear the memory for each layer anew
_KINDS: dict[str, Callable[[keras.Model], list[Kind]]] = {"rich": rich.kinds, "dct": dct.kinds}


@dataclass(frozen=True)
class _OfKind:
    kind: Kind

    @property
    def channels(self) -> int:
        return int(self.kind.found.shape[-1])

    @property
    def apart(self) -> int:
        """How many patterns of a channel are not alike."""
        return int(self.kind.alike.max() + 1)

    @property
    def size(self) -> int:
        """How many counts a picture has."""
        return self.channels * self.apart


class _LookedUp(_OfKind):
    """Numbers of patterns, whose weights an embedding looks up: of one channel after those of another."""

    @property
    def places(self) -> int:
        """How many stand in a channel of one picture."""
        return int(np.prod(self.kind.found.shape[1:3]))

    @property
    def most(self) -> int:
        """The highest count there can be, of all that are alike."""
        return self.places

    def count(self, found: tf.Tensor) -> tf.Tensor:
        """Count each, float32 (N, channels, patterns)."""
        flat = tf.reshape(tf.cast(found, tf.int32), (-1, int(np.prod(found.shape[1:]))))
        each = self.channels * len(self.kind.alike)
        counts = tf.math.bincount(flat, minlength=each, maxlength=each, axis=-1, dtype=tf.float32)
        return tf.reshape(counts, (-1, self.channels, len(self.kind.alike)))

    def plain(self, weights: np.ndarray) -> np.ndarray:
        """Lay out weights (channels, patterns) as the layer holds them."""
        return weights.reshape(-1, 1)


class _Laid(_OfKind):
    """Zeros and ones on which a depthwise kernel is laid, block by block: a pattern is a one at a place of a block."""

    @property
    def side(self) -> int:
        return int(np.sqrt(len(self.kind.alike)))

    @property
    def places(self) -> int:
        """How many blocks a picture has."""
        return int(np.prod([side // self.side for side in self.kind.found.shape[1:3]]))

    @property
    def most(self) -> int:
        """The highest count there can be, of all that are alike."""
        return self.places * int(np.bincount(self.kind.alike).max())

    def count(self, found: tf.Tensor) -> tf.Tensor:
        """Count each, float32 (N, channels, patterns)."""
        rows, columns = (side // self.side for side in found.shape[1:3])
        whole = found[:, : rows * self.side, : columns * self.side]
        line = tf.reduce_sum(tf.reshape(whole, (-1, rows, self.side * columns * self.side * self.channels)), axis=1)
        block = tf.reduce_sum(tf.reshape(line, (-1, self.side, columns, self.side * self.channels)), axis=2)
        return tf.transpose(tf.reshape(block, (-1, self.side**2, self.channels)), (0, 2, 1))

    def plain(self, weights: np.ndarray) -> np.ndarray:
        """Lay out weights (channels, patterns) as the layer holds them."""
        return weights.T.reshape(self.side, self.side, self.channels, 1)


_Counter = _LookedUp | _Laid


class _Evidence(layers.Layer):
    """The mean weight of the patterns of one kind, from how often each occurs; those that are alike have one weight."""

    def __init__(self, first: int, counter: _Counter, **options: Any) -> None:
        super().__init__(**options)
        self.first, self.counter = first, counter

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make the weights."""
        shape = self.counter.channels, self.counter.apart
        self.each = self.add_weight(name="each", shape=shape, initializer="uniform")

    def call(self, counts: tf.Tensor) -> tf.Tensor:
        """Return (N, channels) of counts (N, all)."""
        own = counts[:, self.first : self.first + self.counter.size]
        return tf.einsum("ncp,cp->nc", tf.reshape(own, (-1, *self.each.shape)), self.each) / self.counter.places

    def plain(self) -> list[np.ndarray]:
        """Return the weights of the layer that says the same at each place."""
        return [self.counter.plain(self.each.numpy()[:, self.counter.kind.alike])]


def pays(config: Config) -> bool:
    """Say whether a run sees all its pictures as they are in every epoch, and learns nothing but weights of counts."""
    if config.trainer.limit_batches:
        return False
    as_they_are = Augmentation(name=config.augmentation.name, border=config.augmentation.border)
    return isinstance(config.model, Rich | Dct) and config.augmentation == as_they_are


def count(network: keras.Model, split: Split, folder: Path) -> Split:
    """Count the patterns of each picture.

    Args:
        network: Of `model=rich` or `model=dct`.
        split: Pictures, (N, side, side, 3), uint8.
        folder: Where the counts lie, in a file that nobody else sees and that goes with the process: like pixels they
            are mapped from the disk, as those of many pictures would not fit into memory.

    Returns:
        The split with counts in the place of its pictures: (N, all), of the least unsigned type that holds them.

    Raises:
        OSError: If the disk has no room for them.
    """
    counters = _counters(network)
    maps = keras.Model(network.input, [counter.kind.found for counter in counters])

    @tf.function(input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8)])
    def counted(pictures: tf.Tensor) -> tf.Tensor:
        found = maps(tf.cast(pictures, tf.float32), training=False)
        return tf.concat([_counts(one, counter) for one, counter in zip(found, counters, strict=True)], axis=1)

    folder.mkdir(parents=True, exist_ok=True)
    total, dtype = len(split.images), np.min_scalar_type(counters[0].most)
    bar = tqdm(desc="Counting patterns", total=total, unit=" images", leave=False, disable=None)
    with bar, tempfile.TemporaryFile(dir=folder) as file:
        for start in range(0, total, _BATCH):
            part = counted(read_rows(split.images, slice(start, start + _BATCH))).numpy()
            file.write(part.round().astype(dtype).tobytes())
            bar.update(len(part))
        file.flush()
        return replace(
            split, images=np.memmap(file, dtype, "r", shape=(total, sum(counter.size for counter in counters)))
        )


def _counters(network: keras.Model) -> list[_Counter]:
    kinds = _KINDS[network.name](network)
    return [_LookedUp(kind) if isinstance(kind.layer, layers.Embedding) else _Laid(kind) for kind in kinds]


def _counts(found: tf.Tensor, counter: _Counter) -> tf.Tensor:
    """Count what is alike in each channel, float32 (N, channels * what is not alike)."""
    together = np.eye(counter.apart, dtype=np.float32)[counter.kind.alike]
    return tf.reshape(counter.count(found) @ together, (-1, counter.size))


def twin(network: keras.Model) -> keras.Model:
    """Build what computes the same of counts, with weights of its own.

    Args:
        network: Of `model=rich` or `model=dct`, for pictures.

    Returns:
        A model of layers of the same names, without those that are not learnt. It takes counts, (N, all).
    """
    counters = _counters(network)
    sizes = [counter.size for counter in counters]
    counts = keras.Input((sum(sizes),), dtype="float32", name="counts")
    evidence = [
        _Evidence(sum(sizes[:before]), counter, dtype="float32", name=counter.kind.weight)(counts)
        for before, counter in enumerate(counters)
    ]
    x = layers.Concatenate(dtype="float32", name="evidence")(evidence)
    for name in ("norm", "dropout", "logit", "p_fake"):
        layer = network.get_layer(name)
        x = type(layer).from_config(layer.get_config())(x)
    return keras.Model(counts, x, name=network.name)
