"""What blur, resizing, noise, JPEG and erasing do to a picture."""

import cv2
import numpy as np
import pytest

from deepfake.augmentation.degradation import blur, downscale, erase, jpeg, noise


@pytest.fixture
def picture() -> np.ndarray:
    """A detailed picture that compresses like a photograph: smoothed noise about mid-grey."""
    grain = np.random.default_rng(1).normal(0, 120, (96, 80, 3))
    return np.clip(128 + cv2.GaussianBlur(grain, (0, 0), 1.2), 0, 255).astype(np.uint8)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def detail(image: np.ndarray) -> float:
    return float(cv2.Laplacian(image, cv2.CV_64F).var())


def test_no_blur_no_shrinking_and_no_noise_do_not_touch_a_pixel(picture, rng):
    assert np.array_equal(blur(picture, 0.0), picture)
    assert np.array_equal(downscale(picture, 1.0), picture)
    assert np.array_equal(noise(picture, 0.0, rng), picture)
    assert np.array_equal(erase(picture, 0.0, rng), picture)


def test_the_given_picture_is_never_written_to(picture, rng):
    picture.setflags(write=False)
    for degraded in (
        blur(picture, 1.0),
        downscale(picture, 0.5),
        noise(picture, 9.0, rng),
        jpeg(picture, 50),
        erase(picture, 0.2, rng),
    ):
        assert degraded.shape == picture.shape and degraded.dtype == np.uint8
        assert not np.array_equal(degraded, picture)


def test_a_blurred_point_has_the_spread_of_its_sigma():
    point = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 255
    spread = blur(blur(point, 0.01), 1.5)[20, :, 0].astype(float)
    offsets = np.arange(41) - 20
    assert np.sqrt((spread * offsets**2).sum() / spread.sum()) == pytest.approx(1.5, abs=0.15)


def test_the_smaller_a_picture_was_the_less_detail_is_left(picture):
    assert detail(picture) > detail(downscale(picture, 0.7)) > detail(downscale(picture, 0.3))
    assert np.ptp(downscale(picture, 0.001), axis=(0, 1)).max() == 0  # one pixel is what is left


def test_noise_has_its_standard_deviation_and_no_bias(rng):
    grey = np.full((100, 100, 3), 128, np.uint8)
    noisy = noise(grey, 8.0, rng)
    assert noisy.std() == pytest.approx(8, rel=0.05)
    assert noisy.mean() == pytest.approx(128, abs=0.3)


def test_jpeg_of_low_quality_is_further_from_the_picture(picture):
    assert cv2.PSNR(picture, jpeg(picture, 30)) + 3 < cv2.PSNR(picture, jpeg(picture, 90.4))


def test_red_stays_red_in_jpeg():
    red = np.full((32, 32, 3), (220, 20, 30), np.uint8)
    assert np.abs(jpeg(red, 30).astype(int) - red).max() <= 6


def test_jpeg_keeps_colour_at_half_the_resolution():
    """Columns that alternate between two colours of one luma become one colour, even at the best quality."""
    stripes = np.empty((32, 32, 3), np.uint8)
    stripes[:, ::2], stripes[:, 1::2] = (180, 100, 100), (100, 141, 100)
    assert np.ptp(stripes[16, :, 0]) == 80
    assert np.ptp(jpeg(stripes, 100)[16, 4:-4, 0].astype(int)) < 20


@pytest.mark.parametrize("area", [0.02, 0.2, 0.6, 1.0])
def test_erase_replaces_a_rectangle_of_the_given_area(picture, rng, area):
    erased = erase(picture, area, rng)
    rows, columns = np.nonzero((erased != picture).any(axis=2))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert height * width / (96 * 80) == pytest.approx(area, rel=0.1)
    assert len(rows) == height * width


def test_erased_rectangles_are_as_often_tall_as_wide_and_no_slimmer_than_the_paper_allows(rng):
    black = np.zeros((64, 64, 3), np.uint8)
    aspects = []
    for _ in range(400):
        rows, columns = np.nonzero(erase(black, 0.1, rng).any(axis=2))
        aspects.append((np.ptp(rows) + 1) / (np.ptp(columns) + 1))
    assert np.mean(np.array(aspects) > 1) == pytest.approx(0.5, abs=0.1)
    assert min(aspects) > 0.26 and max(aspects) < 1 / 0.26  # 0.3, and a pixel's rounding
