"""What brightness, contrast and saturation do to a picture."""

import cv2
import numpy as np
import pytest

from deepfake.augmentation.photometric import IDENTITY, matrices, recolour
from deepfake.config import Augmentation, Op


def recoloured(picture: np.ndarray, **strengths: float) -> np.ndarray:
    operations = {name: Op(prob=1.0, range=[strength, strength]) for name, strength in strengths.items()}
    matrix = matrices(1, Augmentation(name="test", **operations), np.random.default_rng(0))[0]
    return recolour(picture, matrix).astype(float)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(70, 180, (40, 40, 3), np.uint8)  # far from black and white: never clipped


def test_nothing_drawn_does_not_touch_a_pixel(picture):
    drawn = matrices(3, Augmentation(name="test", contrast=Op(prob=0.0, range=[1, 1])), np.random.default_rng(0))
    assert np.array_equal(drawn, [IDENTITY] * 3)
    assert np.array_equal(recolour(picture, drawn[0]), picture)


def test_brightness_is_added_as_a_share_of_the_full_scale(picture):
    assert recoloured(picture, brightness=0.1).mean() == pytest.approx(picture.mean() + 25.5, abs=0.6)
    assert recoloured(picture, brightness=-1.0).max() == 0


def test_contrast_scales_the_distance_from_the_mean(picture):
    more = recoloured(picture, contrast=0.4)
    assert more.mean() == pytest.approx(picture.mean(), abs=0.6)
    assert more.std() == pytest.approx(1.4 * picture.std(), rel=0.02)
    assert np.ptp(recoloured(picture, contrast=-1.0)) == 0


def test_saturation_of_minus_one_is_grey_of_the_same_luma(picture):
    grey = recoloured(picture, saturation=-1.0)
    assert np.array_equal(grey[..., 0], grey[..., 1]) and np.array_equal(grey[..., 0], grey[..., 2])
    assert np.abs(grey[..., 0] - cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)).max() <= 1


def test_saturation_makes_red_redder():
    brick = np.full((8, 8, 3), (180, 90, 80), np.uint8)
    red, green, blue = recoloured(brick, saturation=0.3)[0, 0]
    assert red > 180 and green < 90 and blue < 80


def test_fused_is_the_same_as_one_after_another(picture):
    fused = recoloured(picture, saturation=-0.5, contrast=0.2, brightness=0.05)
    apart = recoloured(picture, saturation=-0.5)
    apart = recoloured(apart.astype(np.uint8), contrast=0.2)
    apart = recoloured(apart.astype(np.uint8), brightness=0.05)
    assert np.abs(fused - apart).max() <= 2  # three roundings against one
