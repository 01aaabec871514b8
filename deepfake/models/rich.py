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

if TYPE_CHECKING:
    import keras

_LUMA = 77, 150, 29  # of a picture's channels, in 256ths, so that sums are exact on any machine (BT.601)
_ROWS = (1, 0), (0, 1), (1, 1), (1, -1)  # along which it is compared, as steps down and to the right
_DIFFERENCES = (-2, 2), (1, -2, 1)  # first and second ones, times what makes them alike in size
_GREY_LEVEL = 2  # in these units
_TIE = 2**-11  # below what differences differ by: a border between levels lies so far past what would be on it
_LEVELS, _LENGTH = 5, 4  # to how many levels differences are rounded, and how many in a row are a pattern
_WIDTHS = 1, 2, 4  # of a level, in grey levels: each time all is looked for anew
_AXES = "down", "across"

# In float32 under any policy: bfloat16 would merge neighbouring grey levels, and patterns.
_FIXED = {"dtype": "float32", "trainable": False}


@dataclass(frozen=True)
class Kind:
    """The patterns that lie along one axis, of levels of one width.

    Attributes:
        numbers: Which pattern of which channel stands at each place, (N, rows, columns, channels), float32, from 0.
        alike: Which patterns have to have the same weight: a number for each, shape (patterns,), int64.
        weight: Name of the layer that holds the weights, (channels * patterns, 1).
    """

    numbers: "keras.KerasTensor"
    alike: np.ndarray
    weight: str


def rich(image: "keras.KerasTensor", settings: config.Rich) -> "keras.KerasTensor":
    """Find the patterns at each place, and average their evidence over the picture.

    Args:
        image: float32 (N, size, size, channels), 0 to 255, or what a front end made of it.
        settings: The network's options; none concerns what is done here.

    Returns:
        Features, (N, 192) for three channels: the evidence of all patterns of one kind in one channel, normalised.
    """
    from keras import layers

    differences = _differences(image)
    levels = {width: _rounded(differences, width) for width in _WIDTHS}
    found = [(_numbers(levels[width], axis, f"{width}_{axis}"), f"{width}_{axis}") for width, axis in _kinds()]
    # what nothing is learnt of is cropped, as the gradient of cropping is slow
    rows, columns = (min(numbers.shape[axis] for numbers, _ in found) for axis in (1, 2))
    maps = [_evidence(_middle(numbers, rows, columns, name), name) for numbers, name in found]
    x = layers.Concatenate(dtype="float32", name="evidence")(maps)
    x = layers.GlobalAveragePooling2D(dtype="float32", name="avg_pool")(x)
    return layers.BatchNormalization(scale=False, center=False, dtype="float32", name="norm")(x)


def rich_least_size(settings: config.Rich) -> int:
    """Return the least image side in pixels that has a place for each pattern."""
    return 2 + _LENGTH + 1


def kinds(model: "keras.Model") -> list[Kind]:
    """List what a network looks for, in the order of its features.

    Args:
        model: As `network.build` makes it, of `model=rich`.

    Returns:
        One kind for each width of a level and each axis.
    """
    names, alike = [f"{width}_{axis}" for width, axis in _kinds()], _orbits(_LEVELS, _LENGTH)
    return [Kind(model.get_layer(f"middle_{name}").output, alike, f"weight_{name}") for name in names]


def _kinds() -> list[tuple[int, str]]:
    return list(product(_WIDTHS, _AXES))


def _differences(image: "keras.KerasTensor") -> "keras.KerasTensor":
    from keras import layers

    kernels = _kernels(image.shape[-1])
    convolution = layers.Conv2D(kernels.shape[-1], kernels.shape[:2], use_bias=False, name="differences", **_FIXED)
    differences = convolution(image)
    convolution.set_weights([kernels])
    return differences


def _kernels(channels: int) -> np.ndarray:
    """Return (3, 3, channels, 8 / 3 * channels): of the luma of each three channels eight differences."""
    looks = list(product(range(0, channels, 3), _ROWS, _DIFFERENCES))
    side = max(map(len, _DIFFERENCES))
    kernels = np.zeros((side, side, channels, len(looks)), np.float32)
    for number, (first, (down, right), weights) in enumerate(looks):
        start = len(weights) - 1 if right < 0 else 0
        for place, weight in enumerate(weights):
            one = weight / 256 * np.array(_LUMA)
            kernels[place * down, start + place * right, first : first + 3, number] = one
    return kernels


def _rounded(differences: "keras.KerasTensor", width: int) -> "keras.KerasTensor":
    """Round differences to levels that are so many grey levels wide, from 0; the middle one is no difference."""
    from keras import layers

    past = []
    for number in range(1, _LEVELS):
        border = (number - _LEVELS / 2) * width * _GREY_LEVEL
        border += np.sign(border) * _TIE
        name = f"{width}_{number}"
        x = layers.Rescaling(1 / _TIE, offset=-border / _TIE, name=f"from_border_{name}", **_FIXED)(differences)
        past.append(layers.ReLU(max_value=1.0, name=f"past_border_{name}", **_FIXED)(x))  # 0 or 1
    return layers.Add(name=f"level_{width}", **_FIXED)(past)


def _numbers(level: "keras.KerasTensor", axis: str, name: str) -> "keras.KerasTensor":
    """Number the patterns along an axis, (N, rows, columns, 4 * channels of level), all channels apart.

    There is a row for every second pixel, and a column; the places in between are channels of their own, as JPEG's
    blocks and the making of a picture let a pattern be more or less frequent there.
    """
    from keras import layers

    down, across = (axis == one for one in _AXES)
    window = (_LENGTH + 1, 2) if down else (2, _LENGTH + 1)
    digits = np.zeros((*window, 1, 4))
    for place, (channel, (row, column)) in product(range(_LENGTH), enumerate(product((0, 1), repeat=2))):
        digits[row + place * down, column + place * across, 0, channel] = _LEVELS**place
    convolution = layers.DepthwiseConv2D(window, strides=2, depth_multiplier=4, name=f"number_{name}", **_FIXED)
    numbers = convolution(level)
    channels = level.shape[-1]
    convolution.set_weights([digits.repeat(channels, axis=2), _LEVELS**_LENGTH * np.arange(4 * channels)])
    return numbers


def _middle(numbers: "keras.KerasTensor", rows: int, columns: int, name: str) -> "keras.KerasTensor":
    from keras import layers

    surplus = [(extra // 2, extra - extra // 2) for extra in (numbers.shape[1] - rows, numbers.shape[2] - columns)]
    return layers.Cropping2D(surplus, name=f"middle_{name}", **_FIXED)(numbers)


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
