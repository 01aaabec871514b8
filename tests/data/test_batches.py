"""An epoch's batches follow from the seed and the epoch alone, and hold every image once."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deepfake.data.batches import Plan, training
from deepfake.data.dataset import Split
from deepfake.data.pairs import match


@pytest.fixture
def split() -> Split:
    images = np.zeros((10, 4, 4, 3), np.uint8) + np.arange(10, dtype=np.uint8)[:, None, None, None]
    labels = np.arange(10) % 2
    return Split(images, labels, [str(i) for i in range(10)], [str(i) for i in range(10)])


def seen(split: Split, epochs: range, seed: int = 0) -> Iterator[list[int]]:
    def jitter(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return images + np.uint8(100) * rng.integers(0, 2, dtype=np.uint8), labels

    for images, labels in training(split, jitter, Plan(4, 3, seed), epochs):
        numbers = images.numpy()[:, 0, 0, 0]
        assert np.array_equal(labels.numpy()[:, 0], numbers % 2)
        yield numbers.tolist()


def test_an_epoch_holds_every_image_once(split: Split) -> None:
    batches = list(seen(split, range(1)))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(number % 100 for batch in batches for number in batch) == list(range(10))


def test_an_epoch_is_the_same_whatever_came_before_it(split: Split) -> None:
    assert list(seen(split, range(3)))[6:] == list(seen(split, range(2, 3)))


def test_epochs_and_seeds_differ(split: Split) -> None:
    first = list(seen(split, range(1)))
    assert first != list(seen(split, range(1, 2)))
    assert first != list(seen(split, range(1), seed=1))


def test_images_may_lie_on_the_disk(split: Split, tmp_path: Path) -> None:
    path = tmp_path / "pixels"
    split.images.tofile(path)
    mapped = Split(np.memmap(path, np.uint8, "r", shape=split.images.shape), split.labels, split.paths, split.groups)
    assert list(seen(mapped, range(2))) == list(seen(split, range(2)))


def test_with_pairs_a_batch_is_half_real_and_half_fake() -> None:
    images = np.zeros((12, 4, 4, 3), np.uint8) + np.arange(12, dtype=np.uint8)[:, None, None, None]
    labels, groups = np.arange(12) % 2, [str(i // 2) for i in range(12)]
    split = Split(images, labels, [str(i) for i in range(12)], groups)
    batches = training(
        split, lambda images, labels, rng: (images[:, 1:3, 1:3], labels), Plan(8, 2, 0, match(split), 2), range(1)
    )
    seen = []
    for pixels, truth in batches:
        reals, fakes = np.split(pixels.numpy()[:, 0, 0, 0].astype(int), 2)
        assert (reals % 2 == 0).all() and np.array_equal(fakes, reals + 1)
        assert truth.numpy().ravel().tolist() == [0.0] * len(reals) + [1.0] * len(fakes)
        seen += [*reals, *fakes]
    assert sorted(seen) == list(range(12))
