"""The same net in PyTorch, as a contestant: bfloat16, files decoded and warped by OpenCV in two processes."""

import math
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from tests.benchmarks.duel import EpochPairs, Turn
from tests.benchmarks.ours import configure
from tests.benchmarks.pictures import CLASSES

if TYPE_CHECKING:
    import torch

    from deepfake.config import Augmentation, Cnn

BORDERS = {"reflect": cv2.BORDER_REFLECT_101, "edge": cv2.BORDER_REPLICATE, "black": cv2.BORDER_CONSTANT}
WORKERS = 2
SKIPPED = 3  # steps at the start of an epoch that do not count, as with Keras


class Files:
    """A PyTorch data set of labelled files: decoded, shrunk and augmented one by one.

    Args:
        folder: Holds Real and Fake.
        side: Side of the images in pixels.
        settings: Rotation, shift, shear, zoom and flip.
    """

    def __init__(self, folder: Path, side: int, settings: "Augmentation") -> None:
        self._files = [(str(path), label) for label, name in enumerate(CLASSES) for path in (folder / name).iterdir()]
        self._side, self._settings = side, settings

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.float32]:
        path, label = self._files[number]
        image = cv2.resize(cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB), (self._side, self._side))
        image = cv2.warpAffine(
            image, self._matrix(), (self._side, self._side), borderMode=BORDERS[self._settings.border]
        )
        if random.random() < self._settings.flip:
            image = cv2.flip(image, 1)
        return np.ascontiguousarray(image.transpose(2, 0, 1)), np.float32(label)

    def _matrix(self) -> np.ndarray:
        """Draw zoom, shear and rotation about the centre, and then a shift, as one map."""
        settings, middle = self._settings, (self._side - 1) / 2
        angle = math.radians(random.uniform(*settings.rotation.range))
        shear = math.tan(math.radians(random.uniform(*settings.shear.range)))
        zoom = random.uniform(*settings.zoom.range)
        right, down = (random.uniform(*settings.shift.range) * self._side for _ in range(2))
        a, b = zoom * math.cos(angle), zoom * (math.cos(angle) * shear + math.sin(angle))
        c, d = -zoom * math.sin(angle), zoom * (math.cos(angle) - math.sin(angle) * shear)
        return np.array(
            [[a, b, middle + right - (a + b) * middle], [c, d, middle + down - (c + d) * middle]], np.float64
        )


def epochs(turn: Turn, root: Path, channels_last: bool) -> None:
    """Train; a round and its result are those of `ours.epochs`."""
    import torch

    config = configure(root, "augmentation=standard")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = _net(config.model, config.dataset.image_size).to(memory_format=layout)
    optimizer = torch.optim.Adam(net.parameters(), config.optimizer.learning_rate, fused=True)
    loss_of = torch.nn.BCEWithLogitsLoss()
    loader = torch.utils.data.DataLoader(
        Files(root / "Train", config.dataset.image_size, config.augmentation),
        batch_size=config.trainer.batch_size,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
        worker_init_fn=start_worker,
    )
    pairs = EpochPairs(turn)
    while True:
        ends = []
        for pixels, labels in loader:
            images = pixels.to(torch.float32, memory_format=layout).div_(255)
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = net(images)
            loss = loss_of(logits[:, 0].float(), labels)
            loss.backward()
            optimizer.step()
            ends.append(time.perf_counter())
        pairs.end_of_epoch((len(ends) - SKIPPED) * config.trainer.batch_size / (ends[-1] - ends[SKIPPED - 1]))


def start_worker(_: Any) -> None:
    """Keep OpenCV from starting threads in each of a loader's processes."""
    cv2.setNumThreads(0)


def _net(settings: "Cnn", side: int) -> "torch.nn.Module":
    from torch import nn

    layers: list[nn.Module] = []
    channels = 3
    for filters in settings.filters:
        layers += [nn.Conv2d(channels, filters, 3), nn.ReLU(), nn.MaxPool2d(2)]
        channels, side = filters, (side - 2) // 2
    layers += [nn.Flatten(), nn.Linear(side * side * channels, settings.dense), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(settings.dropout), nn.Linear(settings.dense, 1))
