"""A batch of Train images, augmented.

A blend is made first, if one is asked for, of whole images as they are. What follows is done to real images and fakes.
Its order is that of a picture's life. The camera comes first: how the face is framed (crop, warp), how it is exposed
and coloured (photometric), then its focus (blur). An editor resizes it (downscale) and leaves grain (noise); the upload
compresses what has become of it (JPEG), so that the artefacts of JPEG are neither resampled nor blurred, as in pictures
found online. Erasing is no part of that life, but hides part of the finished picture from the model.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from deepfake.augmentation import blending, degradation, geometric, photometric
from deepfake.config import Augmentation, SelfBlended


def augment(images: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Augment a batch of images.

    The work is done in the calling thread and leaves the interpreter free to others, so batches may be augmented in
    several threads; the caller then keeps OpenCV from starting its own, with `cv2.setNumThreads(1)`.

    Args:
        images: RGB, uint8 (N, H, W, 3).
        settings: Which operations, how often and how strong. Fakes are not blended here: see `augment_pairs`.
        rng: Source of all randomness: the same state gives the same result.

    Returns:
        The augmented images in a new array, uint8 (N, H, W, 3), or (N, crop, crop, 3) where a part is cut out; `images`
        itself where `settings` names no operation.
    """
    return _augment(images, settings, rng, 1)


def augment_pairs(images: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Augment real images and the fakes that are paired with them, both of a pair with the same draw.

    What differs between the two then tells of the manipulation, not of the augmentation. Only noise is drawn for each
    alone, and where it is the real image that a self-blend changes, it is changed before.

    Args:
        images: RGB, uint8 (2 * N, H, W, 3): N real images, and then their fakes in the same order.
        settings: As for `augment`. With `self_blended`, some fakes or all are replaced by blends of their real images.
        rng: Source of all randomness.

    Returns:
        As of `augment`.
    """
    if settings.self_blended:
        images = _blended(images, settings.self_blended, rng)
    return _augment(images, settings, rng, 2)


def _blended(images: np.ndarray, settings: SelfBlended, rng: np.random.Generator) -> np.ndarray:
    blended, half = np.array(images, order="C"), len(images) // 2
    chosen = np.full(half, True) if settings.only_real else rng.random(half) < settings.prob
    for i in np.flatnonzero(chosen):
        blended[i], blended[half + i] = blending.self_blend(images[i], rng)
    return blended


def _augment(images: np.ndarray, settings: Augmentation, rng: np.random.Generator, alike: int) -> np.ndarray:
    """Augment images, of which `alike` equal parts, one after the other, get the same draws."""
    done_elsewhere = {name: getattr(settings, name) for name in ("name", "border", "self_blended", "cutmix", "mixup")}
    if settings == Augmentation(**done_elsewhere):
        return images
    n = len(images) // alike
    if settings.crop:
        images = geometric.crop(images, settings.crop, alike, rng)
    height, width = images.shape[1:3]
    warps = np.tile(geometric.matrices(n, (height, width), settings, rng), (alike, 1, 1))
    colours = np.tile(photometric.matrices(n, settings, rng), (alike, 1, 1))
    degradations = (
        (degradation.blur, settings.blur),
        (degradation.downscale, settings.downscale),
        (partial(degradation.noise, rng=rng), settings.noise),
        (degradation.jpeg, settings.jpeg),
        (partial(degradation.erase, rng=rng), settings.erasing),
    )
    steps: list[tuple[Callable[..., np.ndarray], np.ndarray, np.ndarray]] = [
        (partial(geometric.warp, border=settings.border), warps, (warps != geometric.IDENTITY).any(axis=(1, 2))),
        (photometric.recolour, colours, (colours != photometric.IDENTITY).any(axis=(1, 2))),
    ]
    for apply, op in degradations:
        strengths = np.tile(geometric.draw(op, n, rng, np.nan), alike)
        steps.append((apply, strengths, ~np.isnan(strengths)))

    augmented = np.array(images, order="C")
    for apply, strengths, drawn in steps:
        for i in np.flatnonzero(drawn):
            augmented[i] = apply(augmented[i], strengths[i])
    return augmented
