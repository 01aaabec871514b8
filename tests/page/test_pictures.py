"""What of a visitor's file the model looks at, and what the visitor sees of it."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepfake.detector import Detector
from deepfake.errors import ImageError
from deepfake.page.pictures import SHOWN, data_uri, read_picture


def resized(detector: Detector, **changes) -> Detector:
    return Detector(detector.model, replace(detector.card, **changes))


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    path = tmp_path / "wide.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 90, 3), dtype=np.uint8)).save(path)
    return path


def test_the_model_sees_what_predict_would_show_it(detector: Detector, wide: Path) -> None:
    np.testing.assert_array_equal(read_picture(wide, detector).whole.square, detector.prepare(wide))


def test_a_squashed_picture_is_shown_in_its_own_proportions(detector: Detector, wide: Path) -> None:
    assert read_picture(wide, resized(detector, resize="squash")).whole.shown.shape == (round(SHOWN / 3), SHOWN, 3)


@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_what_is_cut_off_or_added_is_shown_so(detector: Detector, wide: Path, resize: str) -> None:
    assert read_picture(wide, resized(detector, resize=resize)).whole.shown.shape == (SHOWN, SHOWN, 3)


def test_a_picture_turned_by_its_camera_is_upright(detector: Detector, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(np.zeros((40, 80, 3), np.uint8)).save(tmp_path / "turned.jpg", exif=exif)
    shown = read_picture(tmp_path / "turned.jpg", detector).whole.shown
    assert shown.shape == (SHOWN, SHOWN // 2, 3)


def test_what_is_shown_holds_no_metadata() -> None:
    from base64 import b64decode

    uri = data_uri(np.zeros((8, 8, 3), np.uint8))
    image = Image.open(BytesIO(b64decode(uri.removeprefix("data:image/jpeg;base64,"))))
    assert not image.getexif()


def test_an_animation_is_noticed(detector: Detector, tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((20, 20, 3), grey, np.uint8)) for grey in (0, 255)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "b.gif")
    assert read_picture(tmp_path / "a.gif", detector).animated
    assert not read_picture(tmp_path / "b.gif", detector).animated


def test_a_file_that_is_gone_is_an_error_without_its_path(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        read_picture(tmp_path / "gone.jpg", detector)
    assert str(tmp_path) not in str(caught.value)
