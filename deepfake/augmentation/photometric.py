"""Brightness, contrast and saturation, fused into one affine map of colours."""

import cv2
import numpy as np

from deepfake.augmentation.geometric import draw
from deepfake.config import Augmentation

IDENTITY = np.eye(3, 4)
GREY = np.array([0.299, 0.587, 0.114])  # weights of R, G and B in luma (ITU-R BT.601), as in JPEG


def matrices(n: int, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Draw a random map of colours for each image of a batch.

    Args:
        n: Number of images.
        settings: Which operations, how often and how strong.
        rng: Source of randomness.

    Returns:
        Matrices, float64 (n, 3, 4), for `recolour`: a linear map of the RGB distance from the image's mean grey, and
        what is added to R, G and B in grey levels; exactly `IDENTITY` where no operation was drawn.
    """
    brightness, contrast, saturation = (
        draw(op, n, rng, 0)[:, None, None] for op in (settings.brightness, settings.contrast, settings.saturation)
    )
    linear = (1 + contrast) * ((1 + saturation) * np.eye(3) - saturation * GREY)
    return np.concatenate([linear, np.broadcast_to(255 * brightness, (n, 3, 1))], axis=2)


def recolour(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Change an image's colours, about its mean grey.

    Args:
        image: RGB, uint8 (H, W, 3).
        matrix: float64 (3, 4), as of `matrices`.

    Returns:
        The recoloured image, rounded and clipped to uint8 (H, W, 3).
    """
    mean = GREY @ cv2.mean(image)[:3]
    absolute = matrix.copy()
    absolute[:, 3] += mean * (1 - matrix[:, :3].sum(axis=1))
    return cv2.transform(image, absolute)
