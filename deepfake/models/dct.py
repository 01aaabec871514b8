"""How strong each frequency of the discrete cosine transform is, apart at each place of JPEG's grid of 8 x 8 pixels.

Holub & Fridrich 2015, "Low-Complexity Features for JPEG Steganalysis Using Undecimated DCT", transform the 8 x 8 pixels
that begin at any place, round the coefficients to a few levels, and count the levels for each frequency and place of
the grid. A picture that was compressed before, at another place or more strongly, has other counts than one that was
not. Here each has a learnt weight; see `patterns`.
"""

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from deepfake import config
from deepfake.models.front_end import FIXED
from deepfake.models.patterns import LUMA, Kind, mean, past

if TYPE_CHECKING:
    import keras

_SIDE = 8  # of JPEG's blocks, in pixels
_BORDERS = 1, 3, 7, 14  # between levels of the size of a coefficient, in grey levels
_BESIDE = 2**-12  # so far past them, as coefficients that are whole 2048ths would be right on them
_WIDTH = 2**-20  # of a border, as narrow as float32 allows


def dct(image: "keras.KerasTensor", settings: config.Dct) -> "keras.KerasTensor":
    """Find the level of each coefficient at each place, and average the evidence of all over the picture.

    Args:
        image: float32 (N, size, size, channels), 0 to 255, or what a front end made of it.
        settings: The network's options; none concerns what is done here.

    Returns:
        Features, (N, 252) for three channels: the evidence of one frequency past one border, normalised.
    """
    from keras import layers

    squares = _squares(image)
    options = {"strides": _SIDE, "use_bias": False, "depthwise_initializer": "uniform", "dtype": "float32"}
    maps = []
    for border in _BORDERS:
        found = past(squares, (border + _BESIDE) ** 2, _WIDTH, str(border))
        maps.append(layers.DepthwiseConv2D(_SIDE, name=_weight(border), **options)(found))
    return mean(maps)


def dct_least_size(settings: config.Dct) -> int:
    """Return the least image side in pixels that has a block at each place of the grid."""
    return 2 * _SIDE - 1


def kinds(model: "keras.Model") -> list[Kind]:
    """List what a network looks for, in the order of its features.

    Args:
        model: As `network.build` makes it, of `model=dct`.

    Returns:
        One kind for each border, whose patterns are the places of the grid, row by row.
    """
    alike = _mirrored()
    return [Kind(model.get_layer(_weight(border)), alike) for border in _BORDERS]


def _weight(border: int) -> str:
    return f"weight_past_{border}"


def _squares(image: "keras.KerasTensor") -> "keras.KerasTensor":
    """Square all coefficients but the mean, (N, size - 7, size - 7, 63) for three channels."""
    from keras import layers

    sums = image.shape[-1] // 3
    luma = layers.Conv2D(sums, 1, use_bias=False, name="luma", **FIXED)
    coefficients = layers.Conv2D(sums * (_SIDE**2 - 1), _SIDE, use_bias=False, name="coefficients", **FIXED)
    x = coefficients(luma(image))
    apart = np.eye(sums)
    luma.set_weights([np.kron(apart, np.array(LUMA)[:, None] / 256)[None, None]])
    coefficients.set_weights([np.einsum("abk,st->abstk", _cosines(), apart).reshape(_SIDE, _SIDE, sums, -1)])
    return layers.Multiply(name="squares", **FIXED)([x, x])


def _cosines() -> np.ndarray:
    """Return the products of cosines, orthonormal, without the constant one: (8, 8, 63)."""
    frequency, place = np.mgrid[:_SIDE, :_SIDE]
    waves = np.cos(np.pi * frequency * (2 * place + 1) / (2 * _SIDE)) * np.sqrt(np.where(frequency, 2, 1) / _SIDE)
    return np.einsum("ka,lb->abkl", waves, waves).reshape(_SIDE, _SIDE, -1)[..., 1:]


def _mirrored() -> np.ndarray:
    """Number the places of the grid, (64,), those alike that a mirror image has in each other's place."""
    from_edge = [min(place, _SIDE - place) for place in range(_SIDE)]
    numbers = [from_edge[row] * _SIDE + from_edge[column] for row, column in product(range(_SIDE), repeat=2)]
    return np.unique(numbers, return_inverse=True)[1]
