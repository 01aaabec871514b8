"""What a file shows besides the face."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from deepfake.data.images import read
from deepfake.data.traits import NAMES, describe, measure


def saved(pixels: np.ndarray, form: str = "JPEG", **options: object) -> bytes:
    target = BytesIO()
    Image.fromarray(pixels).save(target, form, **options)
    return target.getvalue()


def traits(content: bytes) -> dict[str, float]:
    values = measure(content, read(content))
    assert values.shape == (len(NAMES),)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    return dict(zip(NAMES, values.tolist(), strict=True))


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(40, 200, (96, 80, 3), np.uint8)


@pytest.mark.parametrize("quality", [30, 75, 90, 100])
def test_the_quality_of_a_jpeg(picture: np.ndarray, quality: int) -> None:
    assert traits(saved(picture, quality=quality))["JPEG quality"] == pytest.approx(quality, abs=1)


def test_how_a_file_was_saved_in_words(picture: np.ndarray) -> None:
    exif = Image.Exif()
    exif[271] = "camera"
    jpeg = traits(saved(picture, quality=90, subsampling=2, progressive=True, exif=exif))
    words = {name: describe(name, jpeg[name]) for name in NAMES[:9]}
    assert words["file format"] == "JPEG"
    assert (words["width"], words["height"]) == ("80", "96")
    assert words["chroma subsampling"] == "4:2:0"
    assert words["progressive"] == "progressive"
    assert words["metadata"] == "EXIF"
    png = traits(saved(picture, "PNG"))
    assert describe("file format", png["file format"]) == "PNG"
    assert describe("JPEG quality", png["JPEG quality"]) == "no JPEG"
    assert describe("metadata", png["metadata"]) == "none"


def test_levels_are_those_of_the_picture(picture: np.ndarray) -> None:
    found = traits(saved(picture, "PNG"))
    assert [found[name] for name in ("red", "green", "blue")] == pytest.approx(picture.mean((0, 1)), abs=0.5)
    assert found["bytes per pixel"] == pytest.approx(found["bytes"] / picture[..., 0].size, rel=1e-5)
    brighter = traits(saved(picture + 3, "PNG"))
    assert brighter["darkest level"] - found["darkest level"] == pytest.approx(3, abs=1)


def test_a_blurred_picture_is_less_sharp_and_less_noisy(picture: np.ndarray) -> None:
    import cv2

    sharp, soft = traits(saved(picture, "PNG")), traits(saved(cv2.GaussianBlur(picture, (0, 0), 2), "PNG"))
    assert soft["sharpness"] < sharp["sharpness"]
    assert soft["noise"] < sharp["noise"] / 2


def test_a_black_frame(picture: np.ndarray) -> None:
    picture[[0, -1]], picture[:, [0, -1]] = 0, 0
    found = traits(saved(picture, "PNG"))
    assert found["border level"] < -80
    assert found["border spread"] == found["flattest side"] == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (7, 3), (3000, 9)])
@pytest.mark.parametrize(
    ("form", "mode"), [("PNG", "L"), ("GIF", "P"), ("PNG", "RGBA"), ("JPEG", "CMYK"), ("BMP", "1")]
)
def test_odd_pictures_are_measured_too(shape: tuple[int, int], form: str, mode: str) -> None:
    target = BytesIO()
    Image.fromarray(np.full((*shape, 3), 90, np.uint8)).convert(mode).save(target, form)
    traits(target.getvalue())
