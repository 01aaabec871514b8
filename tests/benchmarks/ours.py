"""What the project does, as contestants. Each `play` function gets its `turn` and does the same round without end."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.benchmarks.duel import EpochPairs, Turn

if TYPE_CHECKING:
    from deepfake.config import Config
    from deepfake.data.dataset import Data

FOREVER = ["trainer.epochs=100000", "trainer.early_stopping=null"]


def configure(root: Path, *overrides: str) -> "Config":
    """Compose the configuration of the small CNN on a folder, as `run.py` does.

    Args:
        root: The folder of images.
        overrides: Further Hydra overrides.

    Returns:
        The configuration.
    """
    from deepfake.config import compose

    return compose(["dataset=folder", f"dataset.root={root}", "dataset.image_size=128", "model=cnn", *overrides])


def epochs(turn: Turn, root: Path, overrides: tuple[str, ...]) -> None:
    """Train; a round is two epochs, its result the images a second inside the second one, and the seconds of it all."""
    from deepfake import quiet
    from deepfake.data.dataset import load

    quiet.import_tensorflow()
    from tests.benchmarks.stopwatch import Stopwatch

    stopwatch = Stopwatch()
    stopwatch.watch_every_fit()
    config = configure(root, *FOREVER, *overrides)
    size = config.trainer.batch_size
    pairs = EpochPairs(turn)
    _train(config, load(config.dataset), lambda *_: pairs.end_of_epoch(stopwatch.steps_per_second() * size))


def whole_epochs(turn: Turn, root: Path, overrides: tuple[str, ...]) -> None:
    """Train; the one result is the images a second over the whole of the last epoch."""
    from deepfake.data.dataset import load

    config = configure(root, "trainer.early_stopping=null", *overrides)
    rates: list[float] = []
    _train(config, load(config.dataset), lambda _, metrics: rates.append(metrics["images_per_second"]))
    turn(rates[-1])


def batches(turn: Turn, root: Path, augmentation: str, in_memory: bool, passes: int) -> None:
    """Iterate over the training batches; a round is some passes over Train, its result the images a second."""
    from deepfake.augmentation import augment
    from deepfake.data.batches import Plan, training
    from deepfake.data.dataset import load

    config = configure(root, f"augmentation={augmentation}")
    split = load(config.dataset).splits["Train"]
    if in_memory:
        split = replace(split, images=np.array(split.images))

    def transform(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return augment(images, config.augmentation, rng), labels

    size = config.trainer.batch_size
    plan = Plan(size, -(-len(split.labels) // size), config.seed)
    for number in range(0, 10**9, passes):
        started, images = time.perf_counter(), 0
        for pixels, _ in training(split, transform, plan, range(number, number + passes)):
            images += len(pixels)
            ended = time.perf_counter()
        turn(images / (ended - started))


def loads(turn: Turn, root: Path, scratch: Path) -> None:
    """Load a data set that was never loaded, then again; a round's result is the seconds of both."""
    from deepfake.data.dataset import load

    config = configure(root)
    home = scratch / "home_of_loads"
    os.environ["DEEPFAKE_HOME"] = str(home)
    while True:
        shutil.rmtree(home, ignore_errors=True)
        turn((_seconds_to(load, config.dataset), _seconds_to(load, config.dataset)))


def first_load(turn: Turn, root: Path) -> None:
    """Load a data set; the result is the seconds."""
    from deepfake.data.dataset import load

    turn(_seconds_to(load, configure(root).dataset))


def write_detector(turn: Turn, folder: Path) -> None:
    """Write a detector: the small CNN with the weights it starts from."""
    from deepfake.detector import Card, write
    from deepfake.models import network

    config = configure(folder)
    card = Card(
        class_names=config.dataset.class_names,
        input_size=config.dataset.image_size,
        resize=config.dataset.resize,
        threshold=0.5,
        model=config.model.name,
        data={},
        metrics={},
        run_id="",
        created="",
        versions={},
    )
    write(folder, network.build(config.model, config.dataset.image_size), card)
    turn(None)


def predict_array(turn: Turn, folder: Path, repeats: int) -> None:
    """Judge one array again and again; a round's result is the seconds for one."""
    from deepfake import Detector

    detector, pixels = Detector.load(folder), one_image()
    while True:
        started = time.perf_counter()
        for _ in range(repeats):
            detector.predict(pixels)
        turn((time.perf_counter() - started) / repeats)


def predict_each(turn: Turn, folder: Path, paths: list[Path]) -> None:
    """Judge files in batches; a round's result is the images a second."""
    from deepfake import Detector

    detector = Detector.load(folder)
    while True:
        started = time.perf_counter()
        count = len(list(detector.predict_each(paths)))
        turn(count / (time.perf_counter() - started))


def predict_singly(turn: Turn, folder: Path, paths: list[Path]) -> None:
    """Judge files one by one; a round's result is the images a second."""
    from deepfake import Detector

    detector = Detector.load(folder)
    while True:
        started = time.perf_counter()
        for path in paths:
            detector.predict(path)
        turn(len(paths) / (time.perf_counter() - started))


def one_image() -> np.ndarray:
    """Return pixels to judge, (128, 128, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)


def peak_memory(turn: Turn, file: Path, images: int, steps: int) -> None:
    """Train on random rows of a large file of pixels; the result is the most memory that the process held, in bytes."""
    from deepfake.data.cache import Decoded
    from deepfake.data.dataset import Data, Split

    config = configure(file, "augmentation=standard", "trainer.epochs=1", f"trainer.limit_batches={steps}")
    size = config.dataset.image_size
    with file.open("wb") as sparse:
        os.truncate(sparse.fileno(), images * size * size * 3)
    pixels = np.memmap(file, np.uint8, "r", shape=(images, size, size, 3))
    names = [str(number) for number in range(images)]
    train = Split(pixels, np.arange(images) % 2, names, names)
    few = Split(pixels[:8], train.labels[:8], names[:8], names[:8])
    nothing = Decoded(pixels, [], [], [], np.zeros(0), np.zeros(0), file)
    data = Data("sparse", file.parent, "", {"Train": train, "Validation": few, "Test": few}, nothing)
    _train(config, data, lambda *_: None)
    held = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    turn(1024 * int(held.split()[1]))


def indexing(turn: Turn, root: Path) -> None:
    """Index a folder; a round's result is the seconds."""
    from deepfake.data.index import scan

    names = configure(root).dataset.class_names
    while True:
        turn(_seconds_to(scan, root, names))


def _train(config: "Config", data: "Data", report: Callable[[int, dict[str, float]], None]) -> None:
    from deepfake import quiet

    quiet.import_tensorflow()
    from deepfake.training import fit

    with tempfile.TemporaryDirectory() as scratch:
        fit.train(config, data, Path(scratch) / "checkpoint.npz", report)


def _seconds_to(work: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started
