"""A data set is checked and decoded once; what is wrong with it is said."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepfake.config import Dataset, compose
from deepfake.data.dataset import load, load_splits
from deepfake.data.images import read, square
from deepfake.errors import DataError

COUNTS = {"Train": 6, "Validation": 3, "Test": 4}


def settings(root: Path, *overrides: str) -> Dataset:
    return compose(["dataset=folder", f"dataset.root={root}", "dataset.image_size=24", *overrides]).dataset


@pytest.fixture
def root(tmp_path: Path, make_faces: Callable[..., Path], new_home: Path) -> Path:
    return make_faces(tmp_path / "faces", COUNTS)


def test_splits_labels_and_pixels(root: Path) -> None:
    data = load(settings(root))
    assert {name: split.counts(["Real", "Fake"]) for name, split in data.splits.items()} == {
        name: {"Real": count, "Fake": count} for name, count in COUNTS.items()
    }
    for split in data.splits.values():
        for image, path, label in zip(split.images, split.paths, split.labels, strict=True):
            assert np.array_equal(image, square(read(root / path), 24, "squash"))
            assert ("Fake" in path) == label


def test_the_second_time_nothing_is_decoded(root: Path, new_home: Path) -> None:
    load(settings(root))
    (pixels,) = (new_home / "data" / "cache").glob("*/pixels.u8")
    before = pixels.stat().st_mtime_ns
    assert load(settings(root)).splits["Test"].images.shape == (8, 24, 24, 3)
    assert pixels.stat().st_mtime_ns == before


def test_a_new_cache_makes_room_for_itself(root: Path, new_home: Path) -> None:
    whole = np.array(load(settings(root)).splits["Train"].images)
    load(settings(root, "dataset.resize=crop", "dataset.cache_limit=1e-6"))
    assert len(list((new_home / "data" / "cache").glob("*/pixels.u8"))) == 1
    assert np.array_equal(load(settings(root)).splits["Train"].images, whole)


def test_a_changed_image_is_noticed(root: Path, make_faces: Callable[..., Path]) -> None:
    before = load(settings(root))
    (root / "Train" / "Real" / "0000.png").write_bytes((root / "Train" / "Real" / "0001.png").read_bytes())
    after = load(settings(root))
    assert after.fingerprint != before.fingerprint
    assert not np.array_equal(after.splits["Train"].images, before.splits["Train"].images)


def test_files_that_are_read_once_more_have_to_be_those_that_were_decoded(root: Path) -> None:
    data = load(settings(root))
    paths = [root / path for path in data.splits["Validation"].paths]
    assert list(data.contents("Validation")) == [path.read_bytes() for path in paths]
    paths[1].write_bytes(paths[0].read_bytes())
    with pytest.raises(DataError, match=f"{paths[1]}: changed since it was decoded"):
        list(data.contents("Validation"))
    paths[1].unlink()
    with pytest.raises(DataError, match=f"{paths[1]}: the file is not there; it could be read before"):
        list(data.contents("Validation"))


def test_the_fingerprint_is_of_the_content_not_of_the_names(root: Path) -> None:
    before = load(settings(root)).fingerprint
    (root / "Train" / "Real" / "0000.png").rename(root / "Train" / "Real" / "renamed.png")
    assert load(settings(root)).fingerprint == before
    (root / "Train" / "Real" / "0001.png").rename(root / "Train" / "Fake" / "now a fake.png")
    assert load(settings(root)).fingerprint != before


def test_a_few_unreadable_files_are_left_out_and_listed(root: Path) -> None:
    (root / "Train" / "Real" / "broken.jpg").write_bytes(b"text")
    data = load(settings(root, "dataset.max_unreadable=0.1"))
    assert data.unreadable == [("Train/Real/broken.jpg", "not an image; JPEG, PNG, WebP, BMP, TIFF and GIF are read")]
    assert len(data.splits["Train"].labels) == 12
    assert "Train/Real/broken.jpg" not in data.splits["Train"].paths


def test_many_unreadable_files_fail_the_run(root: Path) -> None:
    for number in range(3):
        (root / "Train" / "Real" / f"broken{number}.jpg").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"3 of 29 images cannot be read, like Train/Real/broken0.jpg \(an empty file\)"
    ):
        load(settings(root))


def test_an_empty_class_and_a_missing_split(root: Path) -> None:
    for file in (root / "Test" / "Fake").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="Test has no readable images of class Fake"):
        load(settings(root))
    for file in (root / "Validation").rglob("*.png"):
        file.unlink()
    with pytest.raises(DataError, match="no Validation split"):
        load(settings(root))


def test_evaluation_takes_a_split_with_one_class(root: Path) -> None:
    for file in (root / "Test" / "Fake").iterdir():
        file.unlink()
    assert load_splits(settings(root), ["Test"]).splits["Test"].counts(["Real", "Fake"]) == {"Real": 4, "Fake": 0}


def test_a_folder_without_splits_is_split(tmp_path: Path, new_home: Path, make_faces: Callable[..., Path]) -> None:
    root = make_faces(tmp_path / "flat", {".": 20})
    data = load(settings(root, "dataset.validation_fraction=0.2", "dataset.test_fraction=0.3"))
    assert {name: len(split.labels) for name, split in data.splits.items()} == {
        "Train": 20,
        "Validation": 8,
        "Test": 12,
    }
    paths = [path for split in data.splits.values() for path in split.paths]
    assert len(set(paths)) == 40


def test_limit(root: Path) -> None:
    data = load(settings(root, "dataset.limit=2"))
    assert {len(split.labels) for split in data.splits.values()} == {4}


def test_kaggle_says_what_is_missing(new_home: Path) -> None:
    with pytest.raises(DataError, match="pip install kagglehub|the download failed"):
        load(compose(["dataset=kaggle"]).dataset)


def test_a_kaggle_set_that_was_downloaded_is_a_folder(new_home: Path, make_faces: Callable[..., Path]) -> None:
    root = make_faces(new_home / "data" / "kaggle" / "unpacked" / "Dataset", COUNTS).parent
    note = new_home / "data" / "kaggle" / "manjilkarki--deepfake-and-real-images.json"
    note.write_text(f'{{"root": "{root}"}}')
    assert len(load(compose(["dataset=kaggle"]).dataset).splits["Train"].labels) == 12
    note.write_text('{"root": "/ho')  # as of a process that was killed
    with pytest.raises(DataError, match="pip install kagglehub|the download failed"):
        load(compose(["dataset=kaggle"]).dataset)
