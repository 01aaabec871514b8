"""What happens to a picture between the lens and the viewer. Each function returns a degraded copy of one image."""

import math
from functools import cache
from statistics import NormalDist

import cv2
import numpy as np


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur an image with a Gaussian.

    Args:
        image: uint8 (H, W, 3).
        sigma: Standard deviation in pixels, 0 or more.

    Returns:
        The blurred image, uint8 (H, W, 3).
    """
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0 else image.copy()


def downscale(image: np.ndarray, factor: float) -> np.ndarray:
    """Shrink an image by area averaging and enlarge it again, bilinearly.

    Args:
        image: uint8 (H, W, 3).
        factor: Side of the small picture relative to the image's, above 0 to 1.

    Returns:
        The image with the detail of the small one, uint8 (H, W, 3).
    """
    height, width = image.shape[:2]
    small = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(cv2.resize(image, small, interpolation=cv2.INTER_AREA), (width, height))


def noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise, independent in every pixel and channel, of 65,536 levels (up to 4.3 sigma).

    Args:
        image: uint8 (H, W, 3).
        sigma: Standard deviation in grey levels, 0 or more.
        rng: Source of randomness.

    Returns:
        The noisy image, rounded and clipped to uint8 (H, W, 3).
    """
    levels = _normal_quantiles()
    drawn = levels.take(rng.integers(0, len(levels), image.shape, np.uint16))  # a third of the time of a normal draw
    return cv2.add(image, drawn * np.float32(sigma), dtype=cv2.CV_8U)


def jpeg(image: np.ndarray, quality: float) -> np.ndarray:
    """Compress an image to JPEG and decode it, with colour at half the resolution (4:2:0), as most software does.

    Args:
        image: RGB, uint8 (H, W, 3).
        quality: Quality as of libjpeg, 1 to 100; rounded.

    Returns:
        The decoded image, RGB, uint8 (H, W, 3).
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, round(quality)])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
    assert decoded is not None  # which only another's file could be
    return decoded


def erase(image: np.ndarray, area: float, rng: np.random.Generator) -> np.ndarray:
    """Replace a random rectangle by uniform noise: random erasing (Zhong et al. 2020, arXiv:1708.04896).

    Args:
        image: uint8 (H, W, 3).
        area: Share of the image's area, 0 to 1.
        rng: Source of randomness.

    Returns:
        The image with the rectangle filled, uint8 (H, W, 3).
    """
    rows, columns = rectangle(image.shape[:2], area, rng)
    erased = image.copy()
    erased[rows, columns] = rng.integers(0, 256, erased[rows, columns].shape, np.uint8)
    return erased


def rectangle(size: tuple[int, int], area: float, rng: np.random.Generator) -> tuple[slice, slice]:
    """Draw a rectangle somewhere in a picture.

    The aspect ratio, 0.3 to 1/0.3 as in Zhong et al. 2020, is drawn log-uniformly so that tall is as likely as wide,
    and gives way where the rectangle would not fit into the picture.

    Args:
        size: The picture's height and width in pixels.
        area: Share of its area, 0 to 1.
        rng: Source of randomness.

    Returns:
        The rows and the columns.
    """
    rows, columns = size
    pixels = area * rows * columns
    aspect = math.exp(rng.uniform(math.log(0.3), -math.log(0.3)))
    height = max(1, round(np.clip(math.sqrt(pixels * aspect), area * rows, rows)))
    width = min(columns, round(pixels / height))
    top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
    return slice(top, top + height), slice(left, left + width)


@cache
def _normal_quantiles() -> np.ndarray:
    """Return the middles of 65,536 equally likely parts of the standard normal distribution, float32."""
    normal, count = NormalDist(), 1 << 16
    return np.array([normal.inv_cdf((i + 0.5) / count) for i in range(count)], np.float32)
