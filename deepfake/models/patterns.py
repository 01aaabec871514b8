"""What networks that weigh how often something occurs have in common: fixed layers find it, a weight says what of it.

The evidence for Fake at each place is averaged over the picture and normalised: a linear classifier of counts, but a
network of stock layers, whose evidence can be looked at place by place.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepfake.models.front_end import FIXED

if TYPE_CHECKING:
    import keras

LUMA = 77, 150, 29  # of red, green and blue, in 256ths, so that sums are exact on any machine (BT.601)


@dataclass(frozen=True)
class Kind:
    """Patterns that are found by the same layers and weighed by one.

    Attributes:
        layer: That with the weights.
        alike: Which patterns have to have the same weight: a number for each, shape (patterns,), int64.
    """

    layer: "keras.Layer"
    alike: np.ndarray

    @property
    def found(self) -> "keras.KerasTensor":
        """What the layer is given, (N, rows, columns, channels), float32."""
        return self.layer.input

    @property
    def weight(self) -> str:
        """The layer's name."""
        return str(self.layer.name)


def past(x: "keras.KerasTensor", border: float, width: float, name: str) -> "keras.KerasTensor":
    """Say where a map is past a border.

    Args:
        x: Any map, float32.
        border: What is not above it is not past it.
        width: What is so far above it is past it; between, there should be nothing.
        name: Part of the names of layers.

    Returns:
        A map of the same shape, 1 where it is past the border and 0 elsewhere.
    """
    from keras import layers

    beyond = layers.Rescaling(1 / width, offset=-border / width, name=f"from_border_{name}", **FIXED)(x)
    return layers.ReLU(max_value=1.0, name=f"past_border_{name}", **FIXED)(beyond)


def mean(evidence: "list[keras.KerasTensor]") -> "keras.KerasTensor":
    """Average evidence over the picture.

    Args:
        evidence: Maps of equal size, (N, rows, columns, channels).

    Returns:
        Features, (N, all channels): the mean of each, normalised.
    """
    from keras import layers

    x = layers.Concatenate(dtype="float32", name="evidence")(evidence)
    x = layers.GlobalAveragePooling2D(dtype="float32", name="avg_pool")(x)
    return layers.BatchNormalization(scale=False, center=False, dtype="float32", name="norm")(x)
