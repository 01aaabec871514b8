"""Rich models: how often which small pattern of noise occurs in a picture, as steganalysis looks for hidden messages.

Fridrich & Kodovsky 2012, "Rich Models for Steganalysis of Digital Images", take differences of neighbouring pixels,
round them to a few levels, and count which levels follow each other. Cozzolino, Poggi & Verdoliva 2017
(arXiv:1703.04615) write such counts as a convolutional network. Here each pattern has a learnt weight, its evidence for
Fake, and a picture's is the mean over all places: a linear classifier of the counts, but a network of stock layers,
whose evidence at each place can be looked at. With few weights and no filters to find, it learns much from few images.
"""

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from deepfake import config
from deepfake.models.front_end import FIXED
from deepfake.models.patterns import LUMA, Kind, mean, past

if TYPE_CHECKING:
    import keras

_DIFFERENCES = (-2, 2), (1, -2, 1)  # first and second ones, times what makes them alike in size
_GREY_LEVEL = 2  # in these units
_TIE = 2**-11  # below what differences differ by: a border between levels lies so far past what would be on it
_LEVELS, _LENGTH = 5, 4  # to how many levels differences are rounded, and how many in a row are a pattern
_AXES = "down", "across"
_STRAIGHT, _DIAGONAL = ((1, 0), (0, 1)), ((1, 1), (1, -1))  # along what is compared, as steps down and to the right


@dataclass(frozen=True)
class _Look:
    """What of a picture is compared, and how it is counted.

    Attributes:
        name: Part of the names of layers.
        sums: Weights of the three channels; each such sum is looked at by itself. In 256ths, so that what they give is
            exact on any machine.
        rows: Along what neighbours are compared.
        widths: Of a level, in grey levels: each time all is looked for anew.
        places: Side of the grid whose places are counted apart, in pixels.
    """

    name: str
    sums: tuple[tuple[int, int, int], ...]
    rows: tuple[tuple[int, int], ...]
    widths: tuple[int, ...]
    places: int


# JPEG's blocks, and how a picture was made, let a pattern be more or less frequent at each second pixel.
_LUMA = _Look("luma", (LUMA,), _STRAIGHT + _DIAGONAL, (1, 2, 4), places=2)
# At half the picture's size, as colours are finer than that in few pictures.
_COLOUR = _Look("colour", ((256, -256, 0), (0, 256, -256)), _STRAIGHT, (1,), places=1)


def rich(image: "keras.KerasTensor", settings: config.Rich) -> "keras.KerasTensor":
    """Find the patterns at each place, and average their evidence over the picture.

    Args:
        image: float32 (N, size, size, channels), 0 to 255, or what a front end made of it.
        settings: The network's options; none concerns what is done here.

    Returns:
        Features, (N, 208) for three channels: the evidence of all patterns of one kind in one channel, normalised.
    """
    from keras import layers

    half = layers.AveragePooling2D(2, name="half", **FIXED)(image)
    found = _found(image, _LUMA) | _found(half, _COLOUR)
    # what nothing is learnt of is cropped, as the gradient of cropping is slow
    rows, columns = (min(numbers.shape[axis] for numbers in found.values()) for axis in (1, 2))
    maps = [_evidence(_middle(numbers, rows, columns, name), name) for name, numbers in found.items()]
    return mean(maps)


def rich_least_size(settings: config.Rich) -> int:
    """Return the least image side in pixels that has a place for each pattern."""
    return 2 * (2 + _LENGTH)


def kinds(model: "keras.Model") -> list[Kind]:
    """List what a network looks for, in the order of its features.

    Args:
        model: As `network.build` makes it, of `model=rich`.

    Returns:
        One kind for each width of a level and each axis.
    """
    alike = _orbits(_LEVELS, _LENGTH)
    names = [name for look in (_LUMA, _COLOUR) for name in _names(look)]
    return [Kind(model.get_layer(f"weight_{name}"), alike) for name in names]


def _names(look: _Look) -> dict[str, tuple[int, str]]:
    """Name the kinds of patterns, each by the width of its levels and its axis."""
    return {f"{look.name}_{width}_{axis}": (width, axis) for width, axis in product(look.widths, _AXES)}


def _found(image: "keras.KerasTensor", look: _Look) -> "dict[str, keras.KerasTensor]":
    """Number the patterns of each kind, (N, rows, columns, channels)."""
    differences = _differences(image, look)
    levels = {width: _rounded(differences, width, f"{look.name}_{width}") for width in look.widths}
    return {name: _numbers(levels[width], axis, look.places, name) for name, (width, axis) in _names(look).items()}


def _differences(image: "keras.KerasTensor", look: _Look) -> "keras.KerasTensor":
    from keras import layers

    kernels = _kernels(image.shape[-1], look)
    channels, side, name = kernels.shape[-1], kernels.shape[:2], f"differences_{look.name}"
    convolution = layers.Conv2D(channels, side, use_bias=False, name=name, **FIXED)
    differences = convolution(image)
    convolution.set_weights([kernels])
    return differences


def _kernels(channels: int, look: _Look) -> np.ndarray:
    """Return (3, 3, channels, differences), in float32: of each three channels all sums, along all rows."""
    looks = list(product(range(0, channels, 3), look.sums, look.rows, _DIFFERENCES))
    side = max(map(len, _DIFFERENCES))
    kernels = np.zeros((side, side, channels, len(looks)), np.float32)
    for number, (first, one, (down, right), weights) in enumerate(looks):
        start = len(weights) - 1 if right < 0 else 0
        for place, weight in enumerate(weights):
            kernels[place * down, start + place * right, first : first + 3, number] = weight / 256 * np.array(one)
    return kernels


def _rounded(differences: "keras.KerasTensor", width: int, name: str) -> "keras.KerasTensor":
    """Round differences to levels that are so many grey levels wide, from 0; the middle one is no difference."""
    from keras import layers

    digits = []
    for number in range(1, _LEVELS):
        border = (number - _LEVELS / 2) * width * _GREY_LEVEL
        digits.append(past(differences, border + np.sign(border) * _TIE, _TIE, f"{name}_{number}"))
    return layers.Add(name=f"level_{name}", **FIXED)(digits)  # of zeros and ones


def _numbers(level: "keras.KerasTensor", axis: str, places: int, name: str) -> "keras.KerasTensor":
    """Number the patterns along an axis, (N, rows, columns, places ** 2 * channels of level), all channels apart.

    Of each square of so many places there is one row and column; each of its places has channels of its own.
    """
    from keras import layers

    down, across = (axis == one for one in _AXES)
    window = [places + (_LENGTH - 1) * along for along in (down, across)]
    digits = np.zeros((*window, 1, places**2))
    starts = enumerate(product(range(places), repeat=2))
    for (channel, (row, column)), place in product(starts, range(_LENGTH)):
        digits[row + place * down, column + place * across, 0, channel] = _LEVELS**place
    options = {"strides": places, "depth_multiplier": places**2, "name": f"number_{name}", **FIXED}
    convolution = layers.DepthwiseConv2D(window, **options)
    numbers = convolution(level)
    channels = level.shape[-1]
    convolution.set_weights([digits.repeat(channels, axis=2), _LEVELS**_LENGTH * np.arange(places**2 * channels)])
    return numbers


def _middle(numbers: "keras.KerasTensor", rows: int, columns: int, name: str) -> "keras.KerasTensor":
    from keras import layers

    surplus = [(extra // 2, extra - extra // 2) for extra in (numbers.shape[1] - rows, numbers.shape[2] - columns)]
    return layers.Cropping2D(surplus, name=f"middle_{name}", **FIXED)(numbers)


def _evidence(numbers: "keras.KerasTensor", name: str) -> "keras.KerasTensor":
    """Look up what each pattern says, (N, rows, columns, channels)."""
    from keras import layers

    patterns = numbers.shape[-1] * _LEVELS**_LENGTH
    x = layers.Embedding(patterns, 1, dtype="float32", name=f"weight_{name}")(numbers)
    return layers.Reshape(numbers.shape[1:], dtype="float32", name=f"evidence_{name}")(x)


def _orbits(levels: int, length: int) -> np.ndarray:
    """Number the patterns, (levels ** length,), those alike that are each other's negative, reverse, or both."""
    digits = levels ** np.arange(length)
    patterns = np.arange(levels**length)[:, None] // digits % levels
    alike = [patterns, levels - 1 - patterns]
    numbers = np.min([(some[:, ::step] * digits).sum(axis=1) for some in alike for step in (1, -1)], axis=0)
    return np.unique(numbers, return_inverse=True)[1]
