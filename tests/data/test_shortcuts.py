"""What tells the label without the face is named, and chance is not taken for it."""

import numpy as np
import pytest

from deepfake.data.shortcuts import Report, find
from deepfake.data.traits import NAMES

CLASSES = ("Real", "Fake")
CODES = {"file format": 0, "width": 256, "height": 256, "aspect ratio": 1, "JPEG quality": 75, "chroma subsampling": 2}


class Faces:
    """Measurements of so many faces of each class, between which there is no difference; then make one."""

    def __init__(self, each: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.labels = np.repeat([0, 1], each)
        self.groups = [f"{i}.jpg" for i in range(2 * each)]
        self.traits = self.rng.normal(100, 20, (2 * each, len(NAMES))).astype(np.float32)
        for name in NAMES[:9]:
            self.traits[:, NAMES.index(name)] = CODES.get(name, 0)
        self.thumbnails = self.rng.integers(60, 190, (2 * each, 64, 64), np.uint8)

    def some(self, share: float) -> np.ndarray:
        """Choose a share of the fakes."""
        return np.flatnonzero((self.labels == 1) & (self.rng.random(len(self.labels)) < share))

    def set(self, name: str, value: float, share: float = 1.0) -> "Faces":
        self.traits[self.some(share), NAMES.index(name)] = value
        return self

    def report(self) -> Report:
        return find(self.traits, self.thumbnails, self.labels, self.groups, CLASSES)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("each", [20, 300])
def test_no_difference_is_no_alarm(each: int, seed: int) -> None:
    report = Faces(each, seed).report()
    assert report.shortcuts == []
    assert report.images == 2 * each


@pytest.mark.parametrize("share", [1.0, 0.6])
@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("file format", 1, "PNG"),
        ("width", 250, "250"),
        ("JPEG quality", 90, "quality 90"),
        ("metadata", 1, "EXIF"),
        ("progressive", 1, "progressive"),
    ],
)
def test_how_the_files_were_saved(name: str, value: float, told: str, share: float) -> None:
    report = Faces(100).set(name, value, share).report()
    (shortcut,) = report.shortcuts
    assert shortcut.name == name
    assert told in shortcut.text
    assert shortcut.auc == pytest.approx(report.by_trait[name])
    assert shortcut.auc > 0.5 + share / 2 - 0.1


def test_a_size_between_two_others_is_found_too() -> None:
    """No threshold tells 256 from 240 and 272, but a tree does."""
    faces = Faces(150)
    reals = np.flatnonzero(faces.labels == 0)
    faces.traits[reals, NAMES.index("width")] = faces.rng.choice([240, 272], len(reals))
    assert faces.report().by_trait["width"] == 1.0


def test_the_darkest_level_of_brightened_fakes() -> None:
    """In photographs the darkest level is 0 or little more; 3 grey levels more are seen there first."""
    faces = Faces(300)
    column = NAMES.index("darkest level")
    faces.traits[:, column] = faces.rng.exponential(1.0, len(faces.labels)).round()
    faces.traits[faces.labels == 1, column] += 3
    (shortcut,) = faces.report().shortcuts
    assert shortcut.name == "darkest level"


def test_brightened_fakes_are_seen_against_their_own_source() -> None:
    """Where Real and Fake of a video differ by 3 grey levels, between videos that differ by 20."""
    faces = Faces(200)
    column = NAMES.index("red")
    faces.traits[200:, column] = faces.traits[:200, column] + 3 + faces.rng.normal(0, 1, 200)
    faces.groups = [f"video {i}" for i in range(200)] * 2
    report = faces.report()
    assert report.by_trait["red"] < 0.6
    (shortcut,) = report.shortcuts
    assert "within groups" in shortcut.text
    assert "3." in shortcut.text or "2.9" in shortcut.text


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_a_watermark_in_a_corner(share: float) -> None:
    faces = Faces(150)
    for i in faces.some(share):
        faces.thumbnails[i, 54:60, 52:62:2] = 220
    (shortcut,) = faces.report().shortcuts
    assert shortcut.name in ("bottom right corner", "right edge", "bottom edge")
    assert "stands out" in shortcut.text or "show there" in shortcut.text


def test_pictures_that_differ_a_little_are_what_a_detector_is_for() -> None:
    faces = Faces(300)
    faces.traits[faces.labels == 1, NAMES.index("sharpness")] -= 15
    report = faces.report()
    assert report.by_trait["sharpness"] > 0.6
    assert report.shortcuts == []


def test_shuffled_labels_of_spoilt_data() -> None:
    faces = Faces(150).set("file format", 1)
    faces.rng.shuffle(faces.labels)
    assert faces.report().shortcuts == []


def test_too_few_images_say_so() -> None:
    report = Faces(5).report()
    assert report.shortcuts == []
    assert "5 of Real and 5 of Fake: at least" in report.note
