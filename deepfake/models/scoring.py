"""Pixels -> P(fake), in batches, whatever the number of images."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepfake.data.mapped import read_rows

if TYPE_CHECKING:
    import keras

BATCH = 64
# Pixels of a batch at once, on a processor: the system clears what larger outputs of layers lie in anew each time.
_AT_ONCE = 16 * 128 * 128
SUREST = 1e-6  # a score nearer to 0 or 1 counts as this: among so many, one alone must not have its way


def scorer(
    model: "keras.Model", temperature: float = 1.0, dtype: np.typing.DTypeLike = np.uint8
) -> Callable[[np.ndarray], np.ndarray]:
    """Compile a model's forward pass.

    Args:
        model: Takes (N, size, size, 3) raw 0-255 RGB, or what else is given it, and returns (N, 1) P(fake).
        temperature: Of `temper`; at 1 the scores are the model's own.
        dtype: Of what it is given.

    Returns:
        A function from images (N, size, size, 3), uint8, which may be mapped from the disk, to P(fake), shape (N,),
        float64, so that every later comparison with a threshold is made in the same precision.
    """
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), dtype)])
    def forward(batch: "tf.Tensor") -> "tf.Tensor":
        return model(tf.cast(batch, model.inputs[0].dtype), training=False)[:, 0]

    step = BATCH if tf.config.list_physical_devices("GPU") else _step(model.input_shape[1:])

    def score(images: np.ndarray) -> np.ndarray:
        starts = range(0, len(images), step)
        parts = [forward(read_rows(images, slice(start, start + step))).numpy() for start in starts]
        return temper(np.concatenate(parts), temperature) if parts else np.zeros(0)

    return score


def _step(shape: tuple[int, ...]) -> int:
    """Return how many of that shape a processor is given at once: of pictures as above, of counts all."""
    return min(BATCH, max(1, _AT_ONCE // math.prod(shape[:-1])))


def temper(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the log-odds of scores by a temperature (Guo et al. 2017, arXiv:1706.04599).

    The order of the scores stays, so that AUC does. A threshold is moved along by tempering it too.

    Args:
        scores: P(fake), 0 to 1, any shape.
        temperature: Above 0. More than 1 draws the scores towards 0.5, less than 1 away from it.

    Returns:
        The new scores, float64, of the same shape: 0, 0.5 and 1 stay where they are, all do at a temperature of 1.
        Below about 0.4, scores that float32 tells apart can fall together at 1.
    """
    scores = np.asarray(scores, np.float64)
    if temperature == 1:
        return scores  # to the last bit, which the way through logarithms would not keep
    with np.errstate(divide="ignore", over="ignore"):
        return _from_log_odds(_log_odds(scores) / temperature)


def pool(scores: Sequence[float] | np.ndarray) -> float:
    """Make one score of those of images that show the same: the sigmoid of the mean of their log-odds.

    It is the geometric mean of the odds (Genest & Zidek 1986, "Combining Probability Distributions", Stat. Sci. 1(1)).
    A frame that says much weighs more than several that hardly say anything, which a mean of P(fake) would not see.

    Args:
        scores: P(fake), 0 to 1, shape (N,), N of 1 or more. What is nearer to 0 or 1 than 0.000001 counts as that near.

    Returns:
        P(fake) of all together, from the lowest to the highest of them; of one score, that score to the last bit.
    """
    scores = np.asarray(scores, np.float64)
    pooled = _from_log_odds(_log_odds(np.clip(scores, SUREST, 1 - SUREST)).mean())
    return float(np.clip(pooled, scores.min(), scores.max()))


def _log_odds(scores: np.ndarray) -> np.ndarray:
    return np.log(scores) - np.log1p(-scores)


def _from_log_odds(odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-odds))
