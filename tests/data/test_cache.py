"""Images are decoded once; what was decoded is found again, mended, and removed when it is old."""

import csv
import hashlib
import json
import mmap
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from deepfake.data import duplicates, traits
from deepfake.data.cache import Decoded, Geometry, clear, decode, entries
from deepfake.data.images import read, square
from deepfake.data.index import scan
from deepfake.data.mapped import read_rows
from deepfake.errors import DataError

SIZE = 24
BYTES = 12 * (SIZE * SIZE * 3 + 64 * 64)  # of the pixels and thumbnails of one cache


@pytest.fixture
def root(tmp_path: Path, make_faces: Callable[..., Path]) -> Path:
    return make_faces(tmp_path / "faces", {"Train": 4, "Validation": 1, "Test": 1})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def decoded(root: Path, folder: Path, resize: str = "squash", limit: float = 1.0) -> Decoded:
    return decode(root, scan(root, ["Real", "Fake"]), Geometry(SIZE, resize), folder, limit)


def cut_the_pixels(cache: Path) -> None:
    os.truncate(cache / "pixels.u8", 100)


def lose_the_pixels(cache: Path) -> None:
    (cache / "pixels.u8").unlink()


def copy_the_pixels(cache: Path) -> None:
    os.utime(cache / "pixels.u8", (1, 1))


def change_a_pixel_unseen(cache: Path) -> None:
    before = (cache / "pixels.u8").stat()
    with (cache / "pixels.u8").open("r+b") as pixels:
        first = pixels.read(1)[0]
        pixels.seek(0)
        pixels.write(bytes([first ^ 1]))
    os.utime(cache / "pixels.u8", ns=(before.st_atime_ns, before.st_mtime_ns))


def change_a_hash(cache: Path) -> None:
    text = (cache / "files.csv").read_text()
    (cache / "files.csv").write_text(("0" if text[0] == "1" else "1") + text[1:])


def cut_the_thumbnails(cache: Path) -> None:
    os.truncate(cache / "thumbnails.u8", 64 * 64)


def lose_the_traits(cache: Path) -> None:
    (cache / "traits.npy").unlink()


def lose_the_hashes(cache: Path) -> None:
    (cache / "files.csv").unlink()


def lose_the_description(cache: Path) -> None:
    (cache / "meta.json").unlink()


def cut_the_description(cache: Path) -> None:
    (cache / "meta.json").write_text((cache / "meta.json").read_text()[:20])


def change_the_shape(cache: Path) -> None:
    meta = json.loads((cache / "meta.json").read_text())
    (cache / "meta.json").write_text(json.dumps(meta | {"shape": [24, 12, SIZE, 3]}))


def write_another_description(cache: Path) -> None:
    (cache / "meta.json").write_text("[]")


@pytest.mark.parametrize(
    "damage",
    [
        cut_the_pixels,
        lose_the_pixels,
        copy_the_pixels,
        change_a_pixel_unseen,
        change_a_hash,
        cut_the_thumbnails,
        lose_the_traits,
        lose_the_hashes,
        lose_the_description,
        cut_the_description,
        change_the_shape,
        write_another_description,
    ],
)
def test_a_damaged_cache_is_made_again(root: Path, folder: Path, damage: Callable[[Path], None]) -> None:
    (root / "Train" / "Real" / "broken.jpg").write_bytes(b"text")
    whole = decoded(root, folder)
    pixels = np.array(whole.images)
    (cache,) = (path for path in folder.iterdir() if path.is_dir())
    built = [path.stat().st_mtime_ns for path in (cache, cache / "pixels.u8")]
    damage(cache)
    again = decoded(root, folder)
    assert np.array_equal(again.images, pixels)
    assert (again.files, again.hashes, again.unreadable) == (whole.files, whole.hashes, whole.unreadable)
    rebuilt = [path.stat().st_mtime_ns for path in (cache, cache / "pixels.u8")]
    assert rebuilt != built
    decoded(root, folder)
    assert rebuilt == [path.stat().st_mtime_ns for path in (cache, cache / "pixels.u8")]


@pytest.fixture
def alike(tmp_path: Path, make_faces: Callable[..., Path]) -> Path:
    """Files that differ in nothing but their content: all of one size, all changed at the same moment."""
    root = make_faces(tmp_path / "alike", {"Train": 3, "Validation": 1, "Test": 1}, suffix=".bmp")
    for file in root.rglob("*.bmp"):
        os.utime(file, (1, 1))
        time.sleep(0.01)  # so that at least their entries were not: some systems count these times in hundredths
    return root


def write_another_picture(train: Path) -> None:
    (train / "Real" / "0000.bmp").write_bytes((train / "Fake" / "0000.bmp").read_bytes())
    os.utime(train / "Real" / "0000.bmp", (1, 1))


def put_another_in_its_place(train: Path) -> None:
    shutil.copy2(train / "Fake" / "0000.bmp", train / "copy")
    (train / "copy").replace(train / "Real" / "0000.bmp")


def swap_two_files(train: Path) -> None:
    (train / "Real" / "0000.bmp").rename(train / "kept")
    (train / "Fake" / "0000.bmp").rename(train / "Real" / "0000.bmp")
    (train / "kept").rename(train / "Fake" / "0000.bmp")


def swap_two_folders(train: Path) -> None:
    (train / "Real").rename(train / "kept")
    (train / "Fake").rename(train / "Real")
    (train / "kept").rename(train / "Fake")


def lead_a_link_elsewhere(train: Path) -> None:
    (train / "Real" / "0000.bmp").unlink()
    (train / "Real" / "0000.bmp").symlink_to(train / "Fake" / "0000.bmp")


@pytest.mark.parametrize(
    "change",
    [write_another_picture, put_another_in_its_place, swap_two_files, swap_two_folders, lead_a_link_elsewhere],
)
def test_a_change_that_leaves_sizes_and_times_alone_is_noticed(
    alike: Path, folder: Path, change: Callable[[Path], None]
) -> None:
    before = np.array(decoded(alike, folder).images)
    change(alike / "Train")
    after = decoded(alike, folder)
    assert not np.array_equal(after.images, before)
    for image, file, digest in zip(after.images, after.files, after.hashes, strict=True):
        content = (alike / file.path).read_bytes()
        assert np.array_equal(image, square(read(content), SIZE, "squash"))
        assert digest == hashlib.sha256(content).hexdigest()


def lose(file: Path) -> None:
    file.unlink()


def swap(file: Path) -> None:
    shutil.copy2(file.with_name("0001.png"), file)


def cut(file: Path) -> None:
    os.truncate(file, 100)


def put_a_pipe_there(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lose, "the file is not there"),
        (swap, "changed since the folder was listed"),
        (cut, "changed since the folder was listed"),
        pytest.param(
            put_a_pipe_there,
            "a pipe or a device, not an image",
            marks=pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such pipes"),
        ),
    ],
)
def test_a_file_that_changes_after_it_was_listed_is_left_out_and_named(
    root: Path, folder: Path, change: Callable[[Path], None], reason: str
) -> None:
    files = scan(root, ["Real", "Fake"])
    change(root / "Train" / "Fake" / "0000.png")
    found = decode(root, files, Geometry(SIZE, "squash"), folder, 1.0)
    assert found.unreadable == [("Train/Fake/0000.png", reason)]
    assert len(found.images) == len(found.files) == 11


def test_what_could_not_be_read_for_a_while_is_read_as_soon_as_it_can_be(
    root: Path, folder: Path, tmp_path: Path
) -> None:
    """As when a disk is not mounted: nothing about the folder of links changes when it is there again."""
    (root / "Train" / "Real").rename(tmp_path / "disk")
    (root / "Train" / "Real").symlink_to(tmp_path / "disk")
    files = scan(root, ["Real", "Fake"])
    (tmp_path / "disk").rename(tmp_path / "elsewhere")
    for _ in range(2):
        found = decode(root, files, Geometry(SIZE, "squash"), folder, 1.0)
        assert [path for path, _ in found.unreadable] == [f"Train/Real/000{i}.png" for i in range(4)]
    (tmp_path / "elsewhere").rename(tmp_path / "disk")
    found = decode(root, files, Geometry(SIZE, "squash"), folder, 1.0)
    assert len(found.images) == 12
    assert not found.unreadable


def test_a_folder_that_is_a_file_is_one_clear_error(root: Path, folder: Path) -> None:
    folder.write_text("in the way")
    with pytest.raises(DataError, match=f"{folder}: decoded images cannot be written there"):
        decoded(root, folder)


def test_files_and_pixels_go_together(root: Path, folder: Path) -> None:
    """Each row of files.csv: the file's hash, or why it could not be read, and the checksum of its pixels."""
    (root / "Train" / "Real" / "0000.png").write_bytes(b"")
    decoded(root, folder)
    (table,) = folder.glob("*/files.csv")
    with table.open(newline="") as lines:
        rows = list(csv.reader(lines))
    assert len(rows) == 12
    assert sum(bool(digest) for digest, _, _ in rows) == 11
    assert ["", "an empty file", "0"] in rows


def test_traits_and_thumbnails_are_kept_with_the_pixels(root: Path, folder: Path) -> None:
    for _ in range(2):
        found = decoded(root, folder)
        for file, small, row in zip(found.files, found.thumbnails, found.traits, strict=True):
            content = (root / file.path).read_bytes()
            assert np.array_equal(small, duplicates.thumbnail(read(content)))
            np.testing.assert_array_equal(row, traits.measure(content, read(content)))


def test_a_data_set_without_one_readable_image(root: Path, folder: Path) -> None:
    for file in root.rglob("*.png"):
        file.write_bytes(b"")
    for _ in range(2):
        assert decoded(root, folder).images.shape == (0, SIZE, SIZE, 3)
    assert len(decoded(root, folder).unreadable) == 12


def test_what_was_not_used_for_longest_makes_room(root: Path, folder: Path) -> None:
    two_fit = 2.9 * BYTES / 1e9
    for resize in ("squash", "crop"):
        decoded(root, folder, resize, two_fit)
    for entry in entries(folder):
        os.utime(folder / entry.key / "meta.json", (1, 1))
    decoded(root, folder, "squash", two_fit)
    decoded(root, folder, "pad", two_fit)
    assert {entry.resize for entry in entries(folder)} == {"squash", "pad"}


def test_a_new_cache_stays_even_when_it_alone_is_too_large(root: Path, folder: Path) -> None:
    for resize in ("squash", "crop"):
        assert decoded(root, folder, resize, limit=1e-9).images.shape == (12, SIZE, SIZE, 3)
        assert [entry.resize for entry in entries(folder)] == [resize]


def test_what_another_run_is_building_stays(root: Path, folder: Path) -> None:
    decoded(root, folder)
    (other,) = entries(folder)
    with FileLock(folder / f"{other.key}.lock"):
        decoded(root, folder, "crop", limit=1e-9)
        assert len(entries(folder)) == 2
        assert clear(folder, other.key) == (0, [other.key])


def test_what_an_ended_run_left_is_tidied(root: Path, folder: Path) -> None:
    left = folder / f"{'0a' * 10}.partial"
    left.mkdir(parents=True)
    (left / "pixels.u8").write_bytes(b"half")
    left.with_suffix(".lock").touch()
    assert [(entry.root, entry.taken) for entry in entries(folder)] == [("", 4)]
    decoded(root, folder)
    (entry,) = entries(folder)
    assert {path.name for path in folder.iterdir()} - {f"{entry.key}.lock"} == {entry.key}  # filelock 3 leaves no lock


def test_a_cache_that_is_removed_can_be_read_to_the_end(root: Path, folder: Path) -> None:
    images = decoded(root, folder).images
    copy = np.array(images)
    freed, kept = clear(folder)
    assert freed > BYTES
    assert not kept
    assert not list(folder.iterdir())
    assert np.array_equal(images, copy)


def test_a_cache_is_named_by_the_beginning_of_its_key(root: Path, folder: Path) -> None:
    for resize in ("squash", "crop"):
        decoded(root, folder, resize)
    first, second = entries(folder)
    clear(folder, first.key[:8])
    assert entries(folder) == [second]
    with pytest.raises(DataError, match="names 0 caches"):
        clear(folder, first.key[:8])


def test_a_cache_knows_what_it_holds(root: Path, folder: Path) -> None:
    assert entries(folder) == []
    decoded(root, folder, "pad")
    (entry,) = entries(folder)
    assert (entry.root, entry.images, entry.size, entry.resize) == (str(root), 12, SIZE, "pad")
    assert BYTES < entry.taken < 2 * BYTES


def test_runs_that_start_at_once_decode_once(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("deepfake.data.cache.read", lambda content: seen.append(content) or read(content))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: decoded(root, folder), range(4)))
    assert len(seen) == 12
    assert all(np.array_equal(each.images, found[0].images) for each in found)


def test_read_rows_copies(root: Path, folder: Path) -> None:
    images = decoded(root, folder).images
    everything = np.array(images)
    for source, rows in [
        (images, np.array([7, 0, 7])),
        (images, slice(2, 9, 3)),
        (images[4:], np.array([1, 5])),
        (images[4:], slice(None)),
        (everything, slice(3)),
        (everything[..., ::-1], np.array([2, 1])),
    ]:
        copy = read_rows(source, rows)
        assert np.array_equal(copy, source[rows])
        assert type(copy) is np.ndarray
        assert copy.flags.c_contiguous
        assert not np.shares_memory(copy, source)


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="this system does not take memory back")
def test_reading_a_large_data_set_takes_little_memory(tmp_path: Path) -> None:
    shape = (100_000, 128, 128, 3)
    (tmp_path / "pixels.u8").touch()
    os.truncate(tmp_path / "pixels.u8", int(np.prod(shape)))  # 4.9 GB of nothing
    part = np.memmap(tmp_path / "pixels.u8", np.uint8, "r", shape=shape)[50_000:54_000]  # of 197 MB
    before = _resident()
    for rows in np.random.default_rng(0).integers(len(part), size=(625, 32)):
        read_rows(part, rows)
    assert _resident() - before < 50e6


def _resident() -> int:
    """Bytes of memory that this process holds."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
