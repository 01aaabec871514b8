"""Test-time augmentation: an image is looked at in several views, and their scores say how firm the verdict is."""

from collections.abc import Callable

import numpy as np

from deepfake.augmentation.degradation import jpeg
from deepfake.augmentation.geometric import warp
from deepfake.data.mapped import read_rows
from deepfake.models.scoring import BATCH

ZOOM, QUALITY = 1.05, 85  # what a crop a little tighter, and one more upload, would do to the picture


def views(images: np.ndarray) -> np.ndarray:
    """Make views that leave a face what it is: the image, its mirror image, slightly enlarged, compressed once more.

    Args:
        images: Shape (N, size, size, 3), uint8 RGB, N of 1 or more.

    Returns:
        Shape (4, N, size, size, 3), uint8; the first is `images`. The same images give the same views.
    """
    edge = (images.shape[1] - 1) * (1 - ZOOM) / 2  # where the left and the upper edge go when the centre stays
    zoom = np.array([[ZOOM, 0, edge], [0, ZOOM, edge]])
    enlarged = [warp(image, zoom, "reflect") for image in images]
    return np.stack([images, images[:, :, ::-1], enlarged, [jpeg(image, QUALITY) for image in images]])


def combine(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Make one score of those of several views.

    The mean is that of the probabilities, not of the log-odds: on trained models the two order images alike, and one
    view whose score is exactly 0 or 1 does not outweigh all others.

    Args:
        scores: P(fake) of V views of N images, shape (V, N).

    Returns:
        Their mean and their standard deviation over the views, each of shape (N,).
    """
    return scores.mean(axis=0), scores.std(axis=0)


def over_views(score: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Let a scorer look at each image in all views.

    Args:
        score: From images (N, size, size, 3), uint8, to P(fake), shape (N,).

    Returns:
        A function from such images, which may be mapped from the disk, to what `combine` gives.
    """

    def measure(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts: list[np.ndarray] = [np.zeros((1, 0))]
        for start in range(0, len(images), BATCH):
            seen = views(read_rows(images, slice(start, start + BATCH)))
            parts.append(score(seen.reshape(-1, *seen.shape[2:])).reshape(seen.shape[:2]))
        return combine(np.concatenate(parts[1:] or parts, axis=1))

    return measure
