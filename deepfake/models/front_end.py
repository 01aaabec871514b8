"""Front ends: fixed filters before a network, which take away what a picture shows and leave how it was made.

Each gives three channels of residuals, amplified and centred so that a network's own scaling of pixels fits them too.
Standard deviations, in grey levels, of 200 photographs of faces each, reduced to 128 px:

                         pixels    npr    highpass    srm's three
    FFHQ                     68     15          34     24, 29, 30
    DFDC face crops          48      7          11       4, 4, 9

The gains lie between what these two would need. Nothing is clipped: the strongest edges leave the range of pixels.
"""

from typing import TYPE_CHECKING

import numpy as np

from deepfake import config

if TYPE_CHECKING:
    import keras

PREFIX = "front_"  # of the names of all layers here, and of no others

_GAIN = {"npr": 5.0, "highpass": 3.0, "srm": 5.0}
_GREY = 127.5  # where no residual lies, in the middle of what networks take

# In float32 under any policy: bfloat16 would merge neighbouring grey levels.
FIXED = {"dtype": "float32", "trainable": False}

# Whole numbers, divided only after the sum, so that the residuals of whole grey levels are exact on any machine.
_SRM = np.array(
    [
        [[0, 0, 0, 0, 0], [0, -1, 2, -1, 0], [0, 2, -4, 2, 0], [0, -1, 2, -1, 0], [0, 0, 0, 0, 0]],
        [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]],
        [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, -2, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
    ]
)
_SRM_DIVISORS = np.array([4, 12, 2])
_LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])


def front_end(image: "keras.KerasTensor", settings: config.ModelBase) -> "keras.KerasTensor":
    """Apply the chosen filters, in stock layers that do not learn.

    Args:
        image: float32 (N, size, size, 3), 0 to 255.
        settings: `front_end` and `beside_rgb` are used.

    Returns:
        float32: the image itself without a front end; else residuals, (N, size, size, 3), 127.5 where there are none,
        or (N, size, size, 6), the image's channels first, with `beside_rgb`.
    """
    if settings.front_end == "none":
        return image
    from keras import layers

    residuals = {"srm": _srm, "npr": _npr, "highpass": _highpass}[settings.front_end](image)
    if not settings.beside_rgb:
        return residuals
    return layers.Concatenate(name=f"{PREFIX}beside_rgb", **FIXED)([image, residuals])


def _srm(image: "keras.KerasTensor") -> "keras.KerasTensor":
    """Apply three filters of the steganalysis rich model (Fridrich & Kodovsky 2012), each to the sum of R, G and B.

    The choice of Zhou, Han, Morariu & Davis 2018, "Learning Rich Features for Image Manipulation Detection"
    (arXiv:1805.04953).
    """
    kernels = np.moveaxis(_SRM, 0, -1)[:, :, None, :].repeat(3, axis=2)
    return _centred(_filtered(image, kernels), (_GAIN["srm"] / _SRM_DIVISORS).tolist())


def _highpass(image: "keras.KerasTensor") -> "keras.KerasTensor":
    """Apply the Laplacian, the second difference along both axes, to each channel.

    It suppresses the face as does that of Masi et al. 2020, "Two-branch Recurrent Network for Isolating Deepfakes in
    Videos" (arXiv:2008.03412), but without smoothing first.
    """
    return _centred(_filtered(image, _LAPLACIAN[:, :, None, None] * np.eye(3)), _GAIN["highpass"])


def _npr(image: "keras.KerasTensor") -> "keras.KerasTensor":
    """Subtract from each pixel the first of its block of 2x2: "neighbouring pixel relationships".

    That first pixel is what reducing and enlarging the image by nearest neighbour leaves: Tan et al. 2024, "Rethinking
    the Up-Sampling Operations in CNN-based Generative Network for Generalizable Deepfake Detection" (arXiv:2312.10461).
    """
    from keras import layers

    x = layers.MaxPooling2D(1, strides=2, name=f"{PREFIX}reduce", **FIXED)(image)
    x = layers.UpSampling2D(2, interpolation="nearest", name=f"{PREFIX}enlarge", **FIXED)(x)
    surplus = tuple((0, side % 2) for side in image.shape[1:3])
    x = layers.Cropping2D(surplus, name=f"{PREFIX}crop", **FIXED)(x)
    return _centred(layers.Subtract(name=f"{PREFIX}subtract", **FIXED)([image, x]), _GAIN["npr"])


def _filtered(image: "keras.KerasTensor", kernels: np.ndarray) -> "keras.KerasTensor":
    """Correlate with kernels (side, side, 3, 3), and leave 0 at the border, where a kernel would see past the image."""
    from keras import layers

    convolution = layers.Conv2D(3, len(kernels), use_bias=False, name=f"{PREFIX}filter", **FIXED)
    inner = convolution(image)
    convolution.set_weights([kernels])
    return layers.ZeroPadding2D(len(kernels) // 2, name=f"{PREFIX}border", **FIXED)(inner)


def _centred(residuals: "keras.KerasTensor", gain: float | list[float]) -> "keras.KerasTensor":
    from keras import layers

    return layers.Rescaling(gain, offset=_GREY, name=f"{PREFIX}centre", **FIXED)(residuals)
