"""An image is looked at in several views."""

from pathlib import Path

import numpy as np
import pytest

from deepfake.evaluation.views import combine, over_views, views


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 33, 33, 3), dtype=np.uint8)


def brightness(images: np.ndarray) -> np.ndarray:
    return images[:, :, :10].mean((1, 2, 3)) / 255


def test_the_image_comes_first_and_its_mirror_image_second(images: np.ndarray) -> None:
    seen = views(images)
    assert (seen.shape, seen.dtype) == ((4, 5, 33, 33, 3), np.uint8)
    assert np.array_equal(seen[0], images)
    assert np.array_equal(seen[1], images[:, :, ::-1])
    assert np.array_equal(seen, views(images))


def test_the_other_views_are_a_little_different(images: np.ndarray) -> None:
    smooth = np.tile(np.linspace(50, 200, 33).astype(np.uint8)[None, None, :, None], (1, 33, 1, 3))
    _, _, enlarged, compressed = views(smooth)
    for seen in (enlarged, compressed):
        assert 0 < np.abs(seen.astype(int) - smooth).max() <= 6


def test_the_centre_stays_where_it_is() -> None:
    image = np.zeros((1, 33, 33, 3), np.uint8)
    image[:, 8:25, 8:25] = 255
    enlarged = views(image)[2]
    assert enlarged.astype(int).sum() > image.astype(int).sum()
    for axis in (1, 2):
        assert np.array_equal(enlarged, np.flip(enlarged, axis))


def test_scores_are_averaged_and_their_spread_is_told() -> None:
    mean, spread = combine(np.array([[0.2, 0.7], [0.4, 0.7]]))
    assert mean == pytest.approx([0.3, 0.7])
    assert spread == pytest.approx([0.1, 0])


def test_many_images_on_the_disk_are_seen_as_one_by_one(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "pixels.u8", np.uint8, "w+", shape=(70, 16, 16, 3))
    mapped[:] = np.random.default_rng(1).integers(0, 256, mapped.shape, dtype=np.uint8)
    measure = over_views(brightness)
    mean, spread = measure(mapped)
    alone = [measure(mapped[i : i + 1]) for i in range(70)]
    assert mean == pytest.approx([each[0][0] for each in alone])
    assert spread == pytest.approx([each[1][0] for each in alone])
    assert mean[69] == pytest.approx(np.mean([brightness(view)[69] for view in views(np.array(mapped))]))


def test_no_images() -> None:
    mean, spread = over_views(brightness)(np.zeros((0, 16, 16, 3), np.uint8))
    assert mean.shape == spread.shape == (0,)
