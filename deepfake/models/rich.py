"""Rich models: how often which small pattern of noise occurs in a picture, as steganalysis looks for hidden messages.

Fridrich & Kodovsky 2012, "Rich Models for Steganalysis of Digital Images", take differences of neighbouring pixels,
round them to a few levels, and count which levels follow each other. Cozzolino, Poggi & Verdoliva 2017
(arXiv:1703.04615) write such counts as a convolutional network. Here each pattern has a learnt weight, its evidence for
Fake, and a picture's is the mean over all places: a linear classifier of the counts, but a network of stock layers,
whose evidence at each place can be looked at. With few weights and no filters to find, it learns much from few images.
"""

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from deepfake import config

if TYPE_CHECKING:
    import keras

# Of a picture's channels, in 256ths, so that sums are exact on any machine: luma (BT.601), R - G and B - G; and rows
# along which each is compared, as steps down and to the right: colours say little along the diagonals.
_STRAIGHT, _DIAGONAL = ((1, 0), (0, 1)), ((1, 1), (1, -1))
_COLOURS = (((77, 150, 29), _STRAIGHT + _DIAGONAL), ((256, -256, 0), _STRAIGHT), ((0, -256, 256), _STRAIGHT))
# First, second and third differences, times what makes them alike in size, for whole numbers.
_DIFFERENCES = (-6, 6), (3, -6, 3), (-2, 6, -6, 2)
_STEP = 6  # one level, in these units: a grey level
_TIE = 2**-11  # below what differences differ by: a border between levels lies so far past what would be on it
_PATTERNS = (3, 5), (5, 4)  # levels, each time two more, and how many differences in a row
_SCALES = 1, 2  # by which the picture is reduced; the places of patterns lie 2 pixels apart in all

# In float32 under any policy: bfloat16 would merge neighbouring grey levels, and patterns.
_FIXED = {"dtype": "float32", "trainable": False}


def rich(image: "keras.KerasTensor", settings: config.Rich) -> "keras.KerasTensor":
    """Find the patterns at each place, and average their evidence over the picture.

    Args:
        image: float32 (N, size, size, channels), 0 to 255, or what a front end made of it.
        settings: The network's options; none concerns what is done here.

    Returns:
        Features, (N, 192) for three channels: the evidence of all patterns of one kind along one axis, normalised.
    """
    from keras import layers

    found = [  # what nothing is learnt of is cropped, as the gradient of cropping is slow
        (_numbers(level, levels, window, 2 // scale, name), levels, name)
        for scale in _SCALES
        for levels, level in _quantised(image, scale).items()
        for name, window in _windows(levels, scale)
    ]
    rows, columns = (min(numbers.shape[axis] for numbers, *_ in found) for axis in (1, 2))
    maps = [_evidence(_middle(numbers, rows, columns, name), levels, name) for numbers, levels, name in found]
    x = layers.Concatenate(dtype="float32", name="evidence")(maps)
    x = layers.GlobalAveragePooling2D(dtype="float32", name="avg_pool")(x)
    return layers.BatchNormalization(scale=False, center=False, dtype="float32", name="norm")(x)


def rich_least_size(settings: config.Rich) -> int:
    """Return the least image side in pixels that has a place for each pattern."""
    return max(_SCALES) * (3 + max(length for _, length in _PATTERNS))


def _quantised(image: "keras.KerasTensor", scale: int) -> dict[int, "keras.KerasTensor"]:
    """Round the differences of a reduced picture to so many levels, from 0; the middle one is no difference."""
    from keras import layers

    if scale > 1:
        image = layers.AveragePooling2D(scale, name=f"reduce_{scale}", **_FIXED)(image)
    kernels = _kernels(image.shape[-1])
    convolution = layers.Conv2D(kernels.shape[-1], 4, use_bias=False, name=f"differences_{scale}", **_FIXED)
    differences = convolution(image)
    convolution.set_weights([kernels])
    past: list[keras.KerasTensor] = []
    rounded = {}
    for levels, _ in _PATTERNS:
        for border in (-_STEP * (levels / 2 - 1) - _TIE, _STEP * (levels / 2 - 1) + _TIE):
            name = f"{scale}_{len(past)}"
            x = layers.Rescaling(1 / _TIE, offset=-border / _TIE, name=f"from_border_{name}", **_FIXED)(differences)
            past.append(layers.ReLU(max_value=1.0, name=f"past_border_{name}", **_FIXED)(x))  # 0 or 1
        rounded[levels] = layers.Add(name=f"level_{scale}_{levels}", **_FIXED)(list(past))
    return rounded


def _kernels(channels: int) -> np.ndarray:
    """Return (4, 4, channels, 8 * channels): of each three channels twelve differences of luma, six of each colour."""
    rows = [(colour, row) for colour, rows in _COLOURS for row in rows]
    kernels = np.zeros((4, 4, channels, channels // 3 * len(rows) * len(_DIFFERENCES)), np.float32)
    kinds = product(range(0, channels, 3), rows, _DIFFERENCES)
    for number, (first, (colour, (down, right)), weights) in enumerate(kinds):
        start = len(weights) - 1 if right < 0 else 0
        for place, weight in enumerate(weights):
            one = weight / 256 * np.array(colour)
            kernels[place * down, start + place * right, first : first + 3, number] = one
    return kernels


def _windows(levels: int, scale: int) -> list[tuple[str, tuple[int, int]]]:
    """Name the windows, down and across, in which a pattern of so many levels lies."""
    length = dict(_PATTERNS)[levels]
    return [(f"{scale}_{levels}_down", (length, 1)), (f"{scale}_{levels}_across", (1, length))]


def _numbers(
    level: "keras.KerasTensor", levels: int, window: tuple[int, int], stride: int, name: str
) -> "keras.KerasTensor":
    """Number the patterns in windows, (N, rows, columns, channels of level)."""
    from keras import layers

    convolution = layers.DepthwiseConv2D(window, strides=stride, use_bias=False, name=f"number_{name}", **_FIXED)
    numbers = convolution(level)
    digits = (levels ** np.arange(max(window))).reshape(*window, 1, 1)
    convolution.set_weights([digits.repeat(level.shape[-1], axis=2)])
    return numbers


def _evidence(numbers: "keras.KerasTensor", levels: int, name: str) -> "keras.KerasTensor":
    """Look up what each pattern says, (N, rows, columns, channels)."""
    from keras import layers

    orbits, channels = _orbits(levels, dict(_PATTERNS)[levels]), numbers.shape[-1]
    count = int(orbits.max()) + 1
    orbit = layers.Embedding(len(orbits), 1, name=f"alike_{name}", **_FIXED)
    x = layers.Reshape(numbers.shape[1:], dtype="float32", name=f"patterns_{name}")(orbit(numbers))
    orbit.set_weights([orbits[:, None]])
    offset = (count * np.arange(channels)).tolist()
    x = layers.Rescaling(1.0, offset=offset, name=f"of_channel_{name}", **_FIXED)(x)
    x = layers.Embedding(count * channels, 1, dtype="float32", name=f"weight_{name}")(x)
    return layers.Reshape(numbers.shape[1:], dtype="float32", name=f"evidence_{name}")(x)


def _orbits(levels: int, length: int) -> np.ndarray:
    """Number the patterns, (levels ** length,), those alike that are each other's negative, reverse, or both."""
    digits = levels ** np.arange(length)
    patterns = np.arange(levels**length)[:, None] // digits % levels
    alike = [patterns, levels - 1 - patterns]
    numbers = np.min([(some[:, ::step] * digits).sum(axis=1) for some in alike for step in (1, -1)], axis=0)
    return np.unique(numbers, return_inverse=True)[1]


def _middle(numbers: "keras.KerasTensor", rows: int, columns: int, name: str) -> "keras.KerasTensor":
    from keras import layers

    surplus = [(extra // 2, extra - extra // 2) for extra in (numbers.shape[1] - rows, numbers.shape[2] - columns)]
    return layers.Cropping2D(surplus, name=f"middle_{name}", **_FIXED)(numbers)
