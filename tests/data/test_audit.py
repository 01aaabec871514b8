"""What the audit catches in a data set of drawn faces, fault by fault, and that it is silent where there is none."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepfake.config import SPLITS, Dataset, compose
from deepfake.data import audit as audits
from deepfake.data import synthetic
from deepfake.data.audit import Audit, audit
from deepfake.data.dataset import load_splits

EACH = 150  # drawn faces of each class


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn faces, JPEG of one size. Read only."""
    return synthetic.make(tmp_path_factory.mktemp("drawn") / "faces", EACH, 0)


@pytest.fixture
def root(drawn: Path, tmp_path: Path, new_home: Path) -> Path:
    """A copy of them to spoil."""
    return shutil.copytree(drawn, tmp_path / "faces")


def settings(root: Path, *overrides: str) -> Dataset:
    return compose(["dataset=folder", f"dataset.root={root}", "dataset.image_size=32", *overrides]).dataset


def audited(root: Path) -> Audit:
    return audit(load_splits(settings(root), SPLITS), settings(root))


def told(found: Audit, severity: str = "error") -> str:
    return "\n".join(finding.text for finding in found.findings if finding.severity == severity)


def change(root: Path, where: str, how: Callable[[np.ndarray], np.ndarray], suffix: str = ".jpg") -> None:
    """Change every picture that matches, and save it again as JPEG of quality 92, or in another format."""
    for path in sorted(root.glob(where)):
        pixels = how(cv2.imread(str(path)))
        path.unlink()
        cv2.imwrite(str(path.with_suffix(suffix)), pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])


def keep(pixels: np.ndarray) -> np.ndarray:
    return pixels


def levelled(pixels: np.ndarray) -> np.ndarray:
    """From black to white, both clipped a little, as many cameras and editors do."""
    stretched = cv2.normalize(pixels.astype(np.float32), None, -25, 280, cv2.NORM_MINMAX)
    return np.clip(stretched, 0, 255).astype(np.uint8)


def brighter(pixels: np.ndarray) -> np.ndarray:
    return cv2.add(levelled(pixels), (3, 3, 3, 0))


def watermarked(pixels: np.ndarray) -> np.ndarray:
    side = len(pixels)
    corner = pixels[side - side // 6 :, side - side // 4 :]
    mark = np.zeros(corner.shape[:2], np.uint8)
    cv2.putText(mark, "AI", (0, len(mark) - 2), cv2.FONT_HERSHEY_SIMPLEX, len(mark) / 30, 255, 1)
    corner[mark > 0] = corner[mark > 0] // 2 + 110
    return pixels


def framed(pixels: np.ndarray) -> np.ndarray:
    return cv2.rectangle(pixels, (0, 0), (len(pixels) - 1, len(pixels) - 1), (0, 0, 0), 2)


def cropped(pixels: np.ndarray) -> np.ndarray:
    side = len(pixels)
    return cv2.resize(pixels[side // 12 :, : side - side // 12], (side, side), interpolation=cv2.INTER_AREA)


def test_drawn_faces_are_fit_to_train_on(root: Path) -> None:
    found = audited(root)
    assert told(found) == ""
    assert found.fit


@pytest.mark.parametrize(
    ("copy", "kind"),
    [
        (None, "1 the same file"),
        (keep, "1 re-saved or altered a little"),
        (lambda pixels: cv2.flip(pixels, 1), "1 mirrored"),
        (cropped, "1 cropped"),
    ],
)
def test_a_copy_of_a_train_image_in_test(root: Path, copy: Callable[[np.ndarray], np.ndarray], kind: str) -> None:
    source, target = root / "Train" / "Real" / "00003.jpg", root / "Test" / "Real" / "another name.jpg"
    if copy is None:
        shutil.copy(source, target)
    else:
        cv2.imwrite(str(target), copy(cv2.imread(str(source))), [cv2.IMWRITE_JPEG_QUALITY, 80])
    found = audited(root)
    assert not found.fit
    assert "in two splits" in told(found)
    assert kind in told(found)
    assert "Train/Real/00003.jpg" in told(found)
    assert "Test/Real/another name.jpg" in told(found)


def test_a_picture_that_is_real_and_fake(root: Path) -> None:
    shutil.copy(root / "Train" / "Real" / "00003.jpg", root / "Train" / "Fake" / "x.jpg")
    assert "one of the labels is wrong" in told(audited(root))


def test_frames_of_one_video_in_train_and_test(root: Path) -> None:
    with (root / "groups.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    one = next(row for row in rows if row["path"].startswith("Train"))
    other = next(row for row in rows if row["path"].startswith("Test"))
    other["group"] = one["group"]
    with (root / "groups.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, ["path", "group"])
        writer.writeheader()
        writer.writerows(rows)
    assert f"in more than one split, like {one['group']} in Train and Test" in told(audited(root))


@pytest.mark.parametrize(
    ("how", "suffix", "word"),
    [
        (keep, ".png", "format"),
        (lambda pixels: pixels[2:-2, 2:-2], ".jpg", "width"),
        (brighter, ".png", "black"),
        (watermarked, ".jpg", "corner"),
        (framed, ".jpg", "border"),
    ],
)
def test_what_tells_the_label_without_the_face(root: Path, how: Callable, suffix: str, word: str) -> None:
    change(root, "*/Real/*.jpg", *((levelled, suffix) if how is brighter else (keep,)))
    change(root, "*/Fake/*.jpg", how, suffix)
    found = audited(root)
    assert not found.fit
    assert word in told(found)


def test_all_saved_again_alike_gives_nothing_away(root: Path) -> None:
    change(root, "*/*/*.jpg", keep)
    assert audited(root).fit


def test_unreadable_files_and_unequal_classes(root: Path) -> None:
    for number in range(9):
        (root / "Train" / "Real" / f"broken{number}.jpg").write_bytes(b"text")
    for path in sorted((root / "Test" / "Fake").glob("*.jpg"))[2:]:
        path.unlink()
    lax = settings(root, "dataset.max_unreadable=1")
    found = audit(load_splits(lax, SPLITS), settings(root))
    assert "Test has 25 images of Real and only 2 of Fake" in told(found, "warning")
    assert "9 files of 286 cannot be read, like Train/Real/broken0.jpg" in told(found, "note")
    for path in (root / "Test" / "Fake").glob("*.jpg"):
        path.unlink()
    (root / "Test" / "Fake" / "x.jpg").write_bytes(b"text")
    assert "Test has no images of class Fake" in told(audit(load_splits(lax, SPLITS), settings(root)))


def test_it_is_done_once_for_the_same_images(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = audited(root)
    monkeypatch.delattr(audits.duplicates, "find")
    assert audited(root) == first


def test_a_damaged_result_is_found_again(root: Path, new_home: Path) -> None:
    first = audited(root)
    (kept,) = new_home.glob("data/cache/*/audit.json")
    kept.write_text(kept.read_text()[:100])
    assert audited(root) == first
