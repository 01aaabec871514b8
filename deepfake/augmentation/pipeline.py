"""A batch of Train images, augmented.

The order is that of a picture's life. The camera comes first: how the face is framed (warp), how it is exposed and
coloured (photometric), then its focus (blur). An editor resizes it (downscale) and leaves grain (noise); the upload
compresses what has become of it (JPEG), so that the artefacts of JPEG are neither resampled nor blurred, as in pictures
found online. Erasing is no part of that life, but hides part of the finished picture from the model.
"""

from functools import partial

import numpy as np

from deepfake.augmentation import degradation, geometric, photometric
from deepfake.config import Augmentation


def augment(images: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Augment a batch of images.

    The work is done in the calling thread and leaves the interpreter free to others, so batches may be augmented in
    several threads; the caller then keeps OpenCV from starting its own, with `cv2.setNumThreads(1)`.

    Args:
        images: RGB, uint8 (N, H, W, 3).
        settings: Which operations, how often and how strong.
        rng: Source of all randomness: the same state gives the same result.

    Returns:
        The augmented images in a new array, uint8 (N, H, W, 3); `images` itself where `settings` names no operation.
    """
    if settings == Augmentation(name=settings.name, border=settings.border):
        return images
    n, height, width, _ = images.shape
    warps = geometric.matrices(n, (height, width), settings, rng)
    colours = photometric.matrices(n, settings, rng)
    degradations = (
        (degradation.blur, settings.blur),
        (degradation.downscale, settings.downscale),
        (partial(degradation.noise, rng=rng), settings.noise),
        (degradation.jpeg, settings.jpeg),
        (partial(degradation.erase, rng=rng), settings.erasing),
    )
    steps = [
        (partial(geometric.warp, border=settings.border), warps, (warps != geometric.IDENTITY).any(axis=(1, 2))),
        (photometric.recolour, colours, (colours != photometric.IDENTITY).any(axis=(1, 2))),
    ]
    for apply, op in degradations:
        strengths = geometric.draw(op, n, rng, np.nan)
        steps.append((apply, strengths, ~np.isnan(strengths)))

    augmented = np.array(images, order="C")
    for apply, strengths, drawn in steps:
        for i in np.flatnonzero(drawn):
            augmented[i] = apply(augmented[i], strengths[i])
    return augmented
