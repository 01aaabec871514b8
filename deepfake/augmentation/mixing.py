"""Images mixed with others of their batch, and their labels likewise, so that none can be learnt by heart."""

import numpy as np

from deepfake.augmentation.degradation import rectangle
from deepfake.augmentation.geometric import draw
from deepfake.config import Augmentation


def mix(
    images: np.ndarray, labels: np.ndarray, settings: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Mix a batch: CutMix (Yun et al. 2019, arXiv:1905.04899), then mixup (Zhang et al. 2018, arXiv:1710.09412).

    Args:
        images: RGB, uint8 (N, H, W, 3).
        labels: float32 (N, 1), 0 for Real to 1 for Fake.
        settings: `cutmix` and `mixup` are used.
        rng: Source of randomness.

    Returns:
        Images and labels of the same shapes; the very same where nothing is mixed. A label is the mean of the two
        images' labels, weighted by their shares of the picture.
    """
    for op, blend in ((settings.cutmix, _paste), (settings.mixup, _fade)):
        shares = draw(op, len(images), rng, 0)
        if not shares.any():
            continue
        others = rng.permutation(len(images))
        mixed, mixed_labels = images.copy(), labels.copy()
        for i in np.flatnonzero(shares):
            share = blend(mixed[i], images[others[i]], shares[i], rng)
            mixed_labels[i] += share * (labels[others[i]] - labels[i])
        images, labels = mixed, mixed_labels
    return images, labels


def _paste(image: np.ndarray, other: np.ndarray, share: float, rng: np.random.Generator) -> float:
    """Put a rectangle of another image into one, in its place, and return its share of the area."""
    rows, columns = rectangle(image.shape[:2], share, rng)
    image[rows, columns] = other[rows, columns]
    return (rows.stop - rows.start) * (columns.stop - columns.start) / (image.shape[0] * image.shape[1])


def _fade(image: np.ndarray, other: np.ndarray, share: float, _: np.random.Generator) -> float:
    image[:] = (image + share * (other.astype(np.float32) - image) + 0.5).astype(np.uint8)
    return share
