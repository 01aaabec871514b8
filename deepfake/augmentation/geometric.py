"""Rotation, shift, shear, zoom and flip, composed into one affine matrix so that an image is resampled at most once.

Resampling once is faster, and blurs less of the fine traces by which a generated face is told from a photograph.
"""

import cv2
import numpy as np

from deepfake.config import Augmentation, Op

BORDERS = {"reflect": cv2.BORDER_REFLECT_101, "edge": cv2.BORDER_REPLICATE, "black": cv2.BORDER_CONSTANT}
IDENTITY = np.eye(2, 3)


def draw(op: Op | None, n: int, rng: np.random.Generator, otherwise: float) -> np.ndarray:
    """Draw the strength of one operation for a batch.

    Args:
        op: The operation; None is never applied and takes nothing from `rng`.
        n: Number of images.
        rng: Source of randomness.
        otherwise: What stands for an image to which the operation is not applied.

    Returns:
        Strengths, float64 (n,): uniform in `op.range`, or `otherwise`.
    """
    if op is None:
        return np.full(n, otherwise)
    low, high = op.range
    return np.where(rng.random(n) < op.prob, rng.uniform(low, high, n), otherwise)


def matrices(n: int, size: tuple[int, int], settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Draw a random affine map for each image of a batch.

    The maps are forward: `matrix @ [x, y, 1]` is where the pixel at (x, y) goes, in pixels, y downwards. About the
    image's centre, an image is mirrored, zoomed, sheared along x, rotated counter-clockwise, and then shifted.

    Args:
        n: Number of images.
        size: Their height and width in pixels.
        settings: Which operations, how often and how strong.
        rng: Source of randomness.

    Returns:
        Matrices, float64 (n, 2, 3); exactly `IDENTITY` where no operation was drawn.
    """
    angle = np.radians(draw(settings.rotation, n, rng, 0))
    shift = np.stack([draw(settings.shift, n, rng, 0), draw(settings.shift, n, rng, 0)], axis=1)
    shear = np.tan(np.radians(draw(settings.shear, n, rng, 0)))
    zoom = draw(settings.zoom, n, rng, 1)
    mirror = np.where(rng.random(n) < settings.flip, -1.0, 1.0)

    cos, sin = np.cos(angle), np.sin(angle)
    linear = zoom * np.array([[cos * mirror, cos * shear + sin], [-sin * mirror, cos - sin * shear]])
    linear = linear.transpose(2, 0, 1)
    sides = np.array(size[::-1])
    centre = (sides - 1) / 2
    offset = (
        centre + np.rint(shift * sides) - linear @ centre
    )  # by whole pixels, so that a mere shift resamples nothing
    return np.concatenate([linear, offset[:, :, None]], axis=2)


def crop(images: np.ndarray, side: int, alike: int, rng: np.random.Generator) -> np.ndarray:
    """Cut a random square out of each image of a batch.

    Args:
        images: uint8 (N, H, W, 3).
        side: Of the square in pixels, at most H and W.
        alike: The batch is this many equal parts, one after the other, whose images are cut at the same places.
        rng: Source of randomness.

    Returns:
        The squares, uint8 (N, side, side, 3).
    """
    n, (height, width) = len(images) // alike, images.shape[1:3]
    tops = np.tile(rng.integers(0, height - side + 1, n), alike)
    lefts = np.tile(rng.integers(0, width - side + 1, n), alike)
    squares = zip(images, tops.tolist(), lefts.tolist(), strict=True)
    return np.stack([image[top : top + side, left : left + side] for image, top, left in squares])


def warp(image: np.ndarray, matrix: np.ndarray, border: str) -> np.ndarray:
    """Move an image's pixels by an affine map, bilinearly; a plain mirror image is exact.

    Args:
        image: uint8 (H, W, 3).
        matrix: Forward map, float (2, 3), as of `matrices`.
        border: What fills the uncovered part: `reflect`, `edge` or `black`.

    Returns:
        The moved image, uint8 (H, W, 3); `image` itself where the map is the identity.
    """
    width = image.shape[1]
    rows = matrix.tolist()
    if rows == [[1, 0, 0], [0, 1, 0]]:
        return image
    if rows == [[-1, 0, width - 1], [0, 1, 0]]:
        return cv2.flip(image, 1)
    return cv2.warpAffine(image, matrix, image.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=BORDERS[border])
