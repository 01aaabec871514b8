"""Heavy augmentation by Albumentations, as contestants: the operations of heavy.yaml, in two processes."""

import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from tests.benchmarks.duel import Turn
from tests.benchmarks.ours import configure
from tests.benchmarks.peers_torch import BORDERS, WORKERS, start_worker

_shared: dict[str, np.ndarray | Callable[..., dict[str, np.ndarray]]] = {}  # what a pool's processes inherit


class Images:
    """A PyTorch data set of decoded images, augmented one by one.

    Args:
        images: Shape (N, H, W, 3), uint8.
        labels: Shape (N,).
        augment: Albumentations' pipeline.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, augment: Callable[..., dict[str, np.ndarray]]) -> None:
        self._images, self._labels, self._augment = images, labels, augment

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
        return self._augment(image=self._images[number])["image"], self._labels[number]


def loader_batches(turn: Turn, root: Path) -> None:
    """Iterate over a PyTorch DataLoader; a round is a pass over Train, its result the images a second."""
    import torch

    images, labels, size = _decoded(root)
    loader = torch.utils.data.DataLoader(
        Images(images, labels, _pipeline(root)),
        batch_size=size,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
        worker_init_fn=start_worker,
    )
    while True:
        started = time.perf_counter()
        count = sum(len(batch) for batch, _ in loader)
        turn(count / (time.perf_counter() - started))


def pool_batches(turn: Turn, root: Path) -> None:
    """Let two processes return whole batches; a round is a pass over Train, its result the images a second."""
    images, _, size = _decoded(root)
    _shared.update(images=images, augment=_pipeline(root))
    rng = np.random.default_rng(0)
    with get_context("fork").Pool(WORKERS, partial(start_worker, None)) as pool:
        while True:
            started = time.perf_counter()
            order = rng.permutation(len(images))
            chosen = [order[i : i + size] for i in range(0, len(order), size)]
            count = sum(len(batch) for batch in pool.imap(_augmented, chosen))
            turn(count / (time.perf_counter() - started))


def _augmented(chosen: np.ndarray) -> np.ndarray:
    return np.stack([_shared["augment"](image=image)["image"] for image in _shared["images"][chosen]])


def _decoded(root: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Return Train's pixels in memory, its labels, and the size of a batch."""
    from deepfake.data.dataset import load

    config = configure(root)
    split = load(config.dataset).splits["Train"]
    return np.array(split.images), split.labels, config.trainer.batch_size


def _pipeline(root: Path) -> Callable[..., dict[str, np.ndarray]]:
    """Compose the operations, each as often and as strong as ours, in the same order.

    Brightness and contrast are one operation here, and drawn together: less work than ours, which draws them apart.
    """
    import albumentations as A

    ours = configure(root, "augmentation=heavy").augmentation
    shift, saturation = tuple(ours.shift.range), ours.saturation.range
    return A.Compose(
        [
            A.Affine(
                scale=tuple(ours.zoom.range),
                translate_percent={"x": shift, "y": shift},
                rotate=tuple(ours.rotation.range),
                shear={"x": tuple(ours.shear.range), "y": (0.0, 0.0)},
                keep_ratio=True,
                border_mode=BORDERS[ours.border],
                p=ours.rotation.prob,
            ),
            A.HorizontalFlip(p=ours.flip),
            A.RandomBrightnessContrast(tuple(ours.brightness.range), tuple(ours.contrast.range), p=ours.contrast.prob),
            A.ColorJitter(
                brightness=(1.0, 1.0),
                contrast=(1.0, 1.0),
                saturation=(1 + saturation[0], 1 + saturation[1]),
                hue=(0.0, 0.0),
                p=ours.saturation.prob,
            ),
            A.GaussianBlur(sigma_limit=tuple(ours.blur.range), p=ours.blur.prob),
            A.Downscale(
                tuple(ours.downscale.range),
                {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR},
                p=ours.downscale.prob,
            ),
            A.GaussNoise(std_range=(ours.noise.range[0] / 255, ours.noise.range[1] / 255), p=ours.noise.prob),
            A.ImageCompression("jpeg", tuple(round(quality) for quality in ours.jpeg.range), p=ours.jpeg.prob),
            A.Erasing(tuple(ours.erasing.range), (0.3, 1 / 0.3), "random", p=ours.erasing.prob),
        ]
    )
