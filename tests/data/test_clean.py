"""What `audit --fix` keeps, moves and leaves out, and the copy that `--reencode` writes."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepfake.config import SPLITS, compose
from deepfake.data.cache import Decoded, Geometry
from deepfake.data.clean import clean, reencode, write_splits
from deepfake.data.dataset import load, load_splits
from deepfake.data.duplicates import Pair
from deepfake.data.index import ImageFile
from deepfake.errors import DataError


def listed(*rows: tuple[str, str, str, str]) -> Decoded:
    """Decoded files from rows of `split/class/name`, group and content."""
    files = []
    for path, group, *_ in rows:
        split, label, _ = path.split("/")
        files.append(ImageFile(path, ("Real", "Fake").index(label), split, group or path, (1,)))
    nothing = np.zeros(0)
    return Decoded(nothing, files, [row[2] for row in rows], [], nothing, nothing, Path())


def kept(decoded: Decoded, *pairs: Pair) -> dict[str, str]:
    return {file.path: file.split for file in clean(decoded, pairs)}


def test_of_identical_files_the_first_is_left() -> None:
    decoded = listed(("Train/Real/a", "", "1"), ("Train/Real/b", "", "1"), ("Train/Real/c", "", "2"))
    assert kept(decoded, Pair(0, 1, "exact", 1.0)) == {"Train/Real/a": "Train", "Train/Real/c": "Train"}


def test_a_file_that_is_real_and_fake_is_left_out_wherever_it_is() -> None:
    decoded = listed(("Train/Real/a", "", "1"), ("Train/Fake/b", "", "1"), ("Test/Real/c", "", "1"))
    assert kept(decoded, Pair(0, 1, "exact", 1.0), Pair(1, 2, "exact", 1.0)) == {}


@pytest.mark.parametrize("kind", ["near", "mirrored", "crop"])
def test_copies_in_two_splits_come_into_one_and_nothing_is_lost(kind: str) -> None:
    rows = [(f"{split}/Real/{i}", "", f"{split}{i}") for split in SPLITS for i in range(4)]
    decoded = listed(*rows)
    found = kept(decoded, Pair(0, 8, kind, 0.99), Pair(8, 11, kind, 0.99))  # one of Train, two of Test
    assert len(found) == 12
    assert found["Train/Real/0"] == found["Test/Real/0"] == found["Test/Real/3"]
    assert {name: split for name, split in found.items() if not name.startswith(split)} == {"Train/Real/0": "Test"}


def test_a_torn_group_comes_into_one_split() -> None:
    decoded = listed(("Train/Real/a", "v1", "1"), ("Train/Fake/b", "v1", "2"), ("Test/Real/c", "v1", "3"))
    assert set(kept(decoded).values()) in ({"Train"}, {"Test"})


def test_groups_torn_by_a_random_split_are_shared_out_as_the_splits_were() -> None:
    """Ten frames of each of 90 videos, drawn into splits frame by frame."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(900):
        split = rng.choice(SPLITS, p=(0.6, 0.2, 0.2))
        rows.append((f"{split}/{('Real', 'Fake')[number % 2]}/{number}", f"video{number // 10}", str(number)))
    decoded = listed(*rows)
    found = clean(decoded, [])
    assert len(found) == 900
    assert len({(file.group, file.split) for file in found}) == 90
    for split, share in zip(SPLITS, (0.6, 0.2, 0.2), strict=True):
        for label in (0, 1):
            now = sum(file.split == split and file.label == label for file in found)
            assert abs(now / 450 - share) < 0.05


@pytest.fixture
def root(tmp_path: Path, new_home: Path, make_faces: Callable[..., Path]) -> Path:
    return make_faces(tmp_path / "faces", {"Train": 6, "Validation": 3, "Test": 3})


def test_a_run_uses_the_split_file(root: Path, tmp_path: Path) -> None:
    settings = compose(["dataset=folder", f"dataset.root={root}", "dataset.image_size=24"]).dataset
    files = load(settings).decoded.files
    moved = [replace(file, split="Test") if file.path == "Train/Real/0000.png" else file for file in files[:-1]]
    write_splits(tmp_path / "splits.csv", moved)
    data = load(replace(settings, split_file=str(tmp_path / "splits.csv")))
    assert "Train/Real/0000.png" in data.splits["Test"].paths
    assert len(data.splits["Train"].paths) == 11
    assert files[-1].path not in data.joined().paths


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,split\nTrain/Real/gone.png,Train\n",
            "1 of its 1 images are not in the data set, like Train",
        ),
        ("path,split\nTrain/Real/0000.png,Traim\n", "Train/Real/0000.png is in split Traim, which is none of Train"),
        ("file;part\n", "its first line should be path,split"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_split_file_that_does_not_fit(root: Path, tmp_path: Path, text: str | None, message: str) -> None:
    table = tmp_path / "splits.csv"
    if text is not None:
        table.write_text(text)
    settings = compose(["dataset=folder", f"dataset.root={root}", f"dataset.split_file={table}"]).dataset
    with pytest.raises(DataError, match=message):
        load_splits(settings, SPLITS)


def test_the_copy_is_encoded_alike_and_its_originals_are_as_they_were(tmp_path: Path, new_home: Path) -> None:
    root = tmp_path / "mixed"
    rng = np.random.default_rng(0)
    for split in SPLITS:
        for label, (suffix, size) in {"Real": ("jpg", 60), "Fake": ("png", 80)}.items():
            (root / split / label).mkdir(parents=True)
            for i in range(3):
                pixels = rng.integers(0, 256, (size, size + i, 3), np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{i}.{suffix}")
    (root / "Train" / "Real" / "0.webp").write_bytes((root / "Train" / "Real" / "1.jpg").read_bytes())  # the same stem
    (root / "groups.csv").write_text("path,group\nTrain/Real/1.jpg,video7\n")
    before = {path: path.read_bytes() for path in root.rglob("*.*")}
    settings = compose(["dataset=folder", f"dataset.root={root}"]).dataset
    files = load(settings).decoded.files
    copy = tmp_path / "copy"
    reencode(root, files, Geometry(48, "squash"), copy, ["Real", "Fake"])
    assert {path: path.read_bytes() for path in root.rglob("*.*")} == before
    written = sorted(copy.rglob("*.jpg"))
    assert len(written) == len(files) == 19
    looks = set()
    for path in written:
        with Image.open(path) as image:
            looks.add((image.format, image.size, str(image.quantization), bool(image.getexif())))
    assert len(looks) == 1
    with (copy / "groups.csv").open() as table:
        assert list(csv.reader(table)) == [["path", "group"], ["Train/Real/1.jpg", "video7"]]
    assert {n: s.counts(["Real", "Fake"]) for n, s in load(replace(settings, root=str(copy))).splits.items()} == {
        n: s.counts(["Real", "Fake"]) for n, s in load(settings).splits.items()
    }
    with pytest.raises(DataError, match="is there already"):
        reencode(root, files, Geometry(48, "squash"), copy, ["Real", "Fake"])
    (root / "Train" / "Real" / "1.jpg").unlink()
    with pytest.raises(DataError, match=f"{root}/Train/Real/1.jpg: the file is not there; it could be read before"):
        reencode(root, files, Geometry(48, "squash"), tmp_path / "another copy", ["Real", "Fake"])
    assert not (tmp_path / "another copy").exists()
