"""Data sets are found as people have them."""

import os
from collections import Counter
from pathlib import Path

import pytest

from deepfake.data.index import draw_splits, scan, take
from deepfake.errors import DataError

NAMES = ["Real", "Fake"]


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    return root


def found(root: Path, names: list[str] = NAMES) -> dict[str, tuple[str, int]]:
    return {file.path: (file.split, file.label) for file in scan(root, names)}


@pytest.mark.parametrize(
    ("path", "split", "label"),
    [
        ("Train/Real/a.jpg", "Train", 0),
        ("Validation/Fake/a.png", "Validation", 1),
        ("test/fake/a.webp", "Test", 1),
        ("val/0_real/a.bmp", "Validation", 0),
        ("valid/1_fake/a.JPG", "Validation", 1),
        ("training/training_real/a.jpeg", "Train", 0),
        ("training_fake/a.jpg", "Train", 1),
        ("Dataset/Train/Fake/a.jpg", "Train", 1),
        ("real_vs_fake/real-vs-fake/train/fake/a.jpg", "Train", 1),
        ("real/train/a.jpg", "Train", 0),
        ("Train/Real/person 7/a.jpg", "Train", 0),
        ("Real/a.jpg", "", 0),
        ("faces/1_fake/a.jpg", "", 1),
    ],
)
def test_the_folders_tell_split_and_label(tmp_path: Path, path: str, split: str, label: int) -> None:
    assert found(touch(tmp_path, path)) == {path: (split, label)}


def test_other_class_names(tmp_path: Path) -> None:
    touch(tmp_path, "train/original/a.jpg", "train/manipulated/b.jpg", "train/Real/c.jpg")
    files = found(tmp_path, ["original", "manipulated"])
    assert files == {"train/original/a.jpg": ("Train", 0), "train/manipulated/b.jpg": ("Train", 1)}


def test_what_is_no_image_or_hidden_is_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "Real/a.jpg", "Real/notes.txt", "Real/.b.jpg", "__MACOSX/Real/c.jpg", ".git/Real/d.jpg")
    (tmp_path / "Real" / "folder.jpg").mkdir()
    assert list(found(tmp_path)) == ["Real/a.jpg"]


def test_any_name_is_a_name(tmp_path: Path) -> None:
    names = ["лицо.jpg", "顔 1.jpg", "-rf.jpg", "new\nline.jpg", os.fsdecode(b"\xff\xfe.jpg")]
    touch(tmp_path, *(f"Real/{name}" for name in names))
    assert sorted(found(tmp_path)) == sorted(f"Real/{name}" for name in names)


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "a.jpg")
    root = touch(tmp_path / "root", "Fake/b.jpg")
    (root / "Real").symlink_to(tmp_path / "elsewhere")
    (root / "Fake" / "loop").symlink_to(root)
    assert set(found(root)) == {"Real/a.jpg", "Fake/b.jpg"}


def test_a_link_that_leads_nowhere_is_an_image_that_is_missing(tmp_path: Path) -> None:
    touch(tmp_path, "Real/a.jpg")
    (tmp_path / "Real" / "gone.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    (tmp_path / "Real" / "itself.jpg").symlink_to("itself.jpg")
    assert list(found(tmp_path)) == ["Real/a.jpg", "Real/gone.jpg", "Real/itself.jpg"]


def test_folders_may_lie_as_deep_as_the_system_lets_them(tmp_path: Path) -> None:
    touch(tmp_path, "Real/a.jpg")
    for depth in range(1, 1501):
        os.mkdir(tmp_path / ("Real/" + "d/" * depth))
    deep = "Real/" + "d/" * 1500 + "b.jpg"
    (tmp_path / deep).write_bytes(b"x")
    try:
        assert sorted(found(tmp_path)) == ["Real/a.jpg", deep]
    finally:
        (tmp_path / deep).unlink()
        os.removedirs((tmp_path / deep).parent)  # which pytest could not


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: there is no such folder"):
        scan(tmp_path / "nowhere", NAMES)


def test_a_folder_without_labels_says_what_it_holds(tmp_path: Path) -> None:
    touch(tmp_path, "cats/a.jpg")
    with pytest.raises(DataError, match="it holds cats"):
        scan(tmp_path, NAMES)


def test_two_data_sets_side_by_side(tmp_path: Path) -> None:
    touch(tmp_path, "one/Train/Real/a.jpg", "two/Train/Real/a.jpg")
    with pytest.raises(DataError, match="several data sets.*one.*two"):
        scan(tmp_path, NAMES)


def test_images_outside_the_splits(tmp_path: Path) -> None:
    touch(tmp_path, "Train/Real/a.jpg", "Real/stray.jpg")
    with pytest.raises(DataError, match="stray"):
        scan(tmp_path, NAMES)


def test_splits_are_stratified_and_follow_the_seed(tmp_path: Path) -> None:
    touch(tmp_path, *(f"Real/{i}.jpg" for i in range(100)), *(f"Fake/{i}.jpg" for i in range(40)))
    files = draw_splits(scan(tmp_path, NAMES), 0.2, 0.1, seed=3)
    counts = Counter((file.split, file.label) for file in files)
    assert counts == {
        ("Train", 0): 70, ("Validation", 0): 20, ("Test", 0): 10,
        ("Train", 1): 28, ("Validation", 1): 8, ("Test", 1): 4,
    }  # fmt: skip
    assert draw_splits(scan(tmp_path, NAMES), 0.2, 0.1, seed=3) == files
    assert draw_splits(scan(tmp_path, NAMES), 0.2, 0.1, seed=4) != files


def test_a_group_never_stands_in_two_splits(tmp_path: Path) -> None:
    paths = [f"{label}/{video}_{frame}.jpg" for label in NAMES for video in range(30) for frame in range(3)]
    touch(tmp_path, *paths)
    rows = "\n".join(f"{path},{path.split('/')[1].split('_')[0]}" for path in paths)
    (tmp_path / "groups.csv").write_text(f"path,group\n{rows}\n")
    files = draw_splits(scan(tmp_path, NAMES), 0.2, 0.2, seed=0)
    splits_of: dict[str, set[str]] = {}
    for file in files:
        splits_of.setdefault(file.group, set()).add(file.split)
    assert len(splits_of) == 30
    assert all(len(splits) == 1 for splits in splits_of.values())
    assert Counter(file.split for file in files) == {"Train": 108, "Validation": 36, "Test": 36}


def test_a_groups_file_without_its_columns(tmp_path: Path) -> None:
    touch(tmp_path, "Real/a.jpg")
    (tmp_path / "groups.csv").write_text("file;video\n")
    with pytest.raises(DataError, match="path,group"):
        scan(tmp_path, NAMES)
    (tmp_path / "groups.csv").write_text(f"path,group\n{'x' * 200_000},1\n")
    with pytest.raises(DataError, match="groups.csv is no table as CSV"):
        scan(tmp_path, NAMES)


def test_shares_that_leave_nothing_for_train(tmp_path: Path) -> None:
    touch(tmp_path, "Real/a.jpg", "Fake/a.jpg")
    with pytest.raises(DataError, match="nothing for Train"):
        draw_splits(scan(tmp_path, NAMES), 0.5, 0.5, seed=0)


def test_a_limit_holds_for_each_class_of_each_split_and_is_nested(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{split}/{label}/{i}.jpg" for split in ("Train", "Test") for label in NAMES for i in range(20)))
    files = scan(tmp_path, NAMES)
    few, more = take(files, 3), take(files, 10)
    assert set(Counter((file.split, file.label) for file in few).values()) == {3}
    assert len(few) == 12
    assert set(few) < set(more)
