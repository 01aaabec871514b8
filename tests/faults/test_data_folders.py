"""Whatever lies in a data set's folder is indexed or reported, in bounded memory; nothing crashes or hangs."""

import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepfake.data.cache import entries
from tests.faults.decoding import NOBODY, outcome, start
from tests.page.mutations import png

pytestmark = [pytest.mark.faults, pytest.mark.skipif(not hasattr(os, "fork"), reason="made for systems with rights")]
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may be another")

FACE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8))
NAMES = [
    *("лицо.png", "顔 1.png", "وجه.png", "👤.png", "e\u0301.png", "é.png", "-rf.png", "--help.png", "a\nb.png"),
    *(" .png", "\t.png", "\x1b[31m.png", "'\"`$(id);.png", "a\\b.png", "%41.png", "[bold].png", "a,b.png"),
    *("x" * 251 + ".png", os.fsdecode(b"\xff\xfe.png"), os.fsdecode(b"caf\xe9.png")),
]


def saved(image: Image.Image, kind: str, **how: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def tiff(tags: list[tuple[int, int, int, int]], size: int) -> bytes:
    """A TIFF of some tags (tag, type, count, value) and nothing."""
    listed = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + listed).ljust(size, b"\0")


def declaring(side: int) -> bytes:
    content = bytearray(saved(FACE, "JPEG"))
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(content)


def pictures() -> dict[str, bytes]:
    """Unusual images, all of which are read."""
    frames = {"save_all": True, "append_images": [FACE.rotate(90), FACE.rotate(180)]}
    return {
        "moving.webp": saved(FACE, "WEBP", **frames),
        "moving.gif": saved(FACE, "GIF", **frames),
        "two pages.tiff": saved(FACE, "TIFF", **frames),
        "print.jpg": saved(FACE.convert("CMYK"), "JPEG"),
        "print.tif": saved(FACE.convert("CMYK"), "TIFF", compression="tiff_lzw"),
        "deep.png": saved(Image.fromarray(np.full((9, 9), 40_000, np.uint16)), "PNG"),
        "bits.png": saved(FACE.convert("1"), "PNG"),
        "palette.png": saved(FACE.convert("P"), "PNG", transparency=bytes(range(256))),
        "a png.jpg": saved(FACE, "PNG"),
        "large.png": png(7000, 7000),
    }


def others() -> dict[str, tuple[bytes, str]]:
    """Files that are not read, and what is said of each."""
    strips = [(256, 4, 1, 1), (257, 4, 1, 9), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 2_000_000, 99)]
    pointing = [(10_000 + tag, 7, 3_999_000, 10) for tag in range(30_000)]
    return {
        "empty.jpg": (b"", "an empty file"),
        "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "not an image"),
        "bomb.png": (png(60_000, 60_000), "more than 178 megapixels"),
        "gigabytes.jpg": (declaring(65_535), "more than 178 megapixels"),
        "strips.tif": (tiff(strips, 8_000_200), "too many pieces"),
        "pointing.tif": (tiff(pointing, 4_000_000), "metadata lie about their size"),
    }


@pytest.fixture
def root(tmp_path: Path, make_faces: Callable[..., Path]) -> Path:
    return make_faces(tmp_path / "faces", {"Train": 2, "Validation": 1, "Test": 1})


@pytest.fixture
def open_root(make_faces: Callable[..., Path]) -> Iterator[Path]:
    """A data set that everybody may read, unlike what lies in pytest's own folders."""
    folder = Path(tempfile.mkdtemp(prefix="deepfake-"))
    folder.chmod(0o755)
    yield make_faces(folder / "faces", {"Train": 2, "Validation": 1, "Test": 1})
    shutil.rmtree(folder)


def test_every_kind_of_file_is_indexed_or_reported_in_bounded_memory(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = root / "Train" / "Real"
    good, bad = pictures(), others()
    for name, content in (good | {name: content for name, (content, _) in bad.items()}).items():
        (train / name).write_bytes(content)
    reasons = {f"Train/Real/{name}": reason for name, (_, reason) in bad.items()}
    (train / "a folder.jpg").mkdir()
    (train / "a folder.jpg" / "face.png").write_bytes(saved(FACE, "PNG"))
    (train / "drawing.svg").write_bytes(b"<svg/>")  # passed over, as all that has no name of an image
    (train / "round").symlink_to(root)
    (train / "linked.png").symlink_to("0000.png")
    os.mkfifo(train / "pipe.jpg")
    reasons["Train/Real/pipe.jpg"] = "a pipe or a device"
    (train / "gone.jpg").symlink_to(root / "nowhere.jpg")
    reasons["Train/Real/gone.jpg"] = "not there"
    (train / "itself.jpg").symlink_to("itself.jpg")
    reasons["Train/Real/itself.jpg"] = "cannot be read"
    (train / "zero.jpg").symlink_to("/dev/zero")
    reasons["Train/Real/zero.jpg"] = "a pipe or a device"
    (train / "nothing.bmp").touch()
    os.truncate(train / "nothing.bmp", 10_000_000_000)
    reasons["Train/Real/nothing.bmp"] = "10000 MB"
    monkeypatch.chdir(train)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.jpg")
        reasons["Train/Real/socket.jpg"] = "cannot be read"
        found = outcome(start(root, tmp_path / "cache"))
    assert found["unreadable"].keys() == reasons.keys()
    assert [path for path, reason in reasons.items() if reason not in found["unreadable"][path]] == []
    expected = {f"Train/Real/{name}" for name in [*good, "a folder.jpg/face.png", "linked.png", "0000.png", "0001.png"]}
    assert {path for path in found["paths"] if path.startswith("Train/Real")} == expected
    assert found["peak"] < 1.2e9


def test_any_name_goes_through_a_whole_audit(tmp_path: Path, make_faces: Callable[..., Path], home: Path) -> None:
    faces = make_faces(tmp_path / "faces", {"Train": 2, "Validation": 2, "Test": 2})
    root = faces.rename(tmp_path / "däta 'set' [x]")
    for number, name in enumerate(NAMES):
        (root / "Train" / "Fake" / name).write_bytes(saved(FACE.rotate(number), "PNG"))
    for name in ("\n.jpg", os.fsdecode(b"\xff.jpg"), "[bold]\x1b[31m.jpg"):
        (root / "Train" / "Real" / name).write_bytes(b"no image")
    quoted = "'" + str(root).replace("'", "\\'") + "'"
    command = [sys.executable, "-m", "deepfake", "audit", "dataset=folder", f"dataset.root={quoted}"]
    done = subprocess.run(command, capture_output=True, cwd=Path(__file__).parents[2])
    said = (done.stdout + done.stderr).decode(errors="replace")
    assert "Traceback" not in said, said
    assert "fit to train on" in said
    (kept,) = entries(home / "data" / "cache")
    assert kept.images == 12 + len(NAMES)


@needs_root
def test_what_may_not_be_read_is_reported(open_root: Path) -> None:
    folder = open_root.with_name("cache")
    folder.mkdir()
    folder.chmod(0o777)
    secret = open_root / "Train" / "Real" / "0000.png"
    secret.chmod(0)
    found = outcome(start(open_root, folder, "--uid", str(NOBODY)))
    assert found["unreadable"] == {"Train/Real/0000.png": "the file may not be read"}
    assert len(found["paths"]) == 7
    secret.chmod(0o644)
    found = outcome(start(open_root, folder, "--uid", str(NOBODY)))
    assert (found["unreadable"], len(found["paths"])) == ({}, 8)
    (open_root / "Train" / "Fake").chmod(0o644)  # its names may be read, and not what they name
    found = outcome(start(open_root, folder, "--uid", str(NOBODY)))
    assert set(found["unreadable"].values()) == {"the file may not be read"}
    assert len(found["paths"]) == 6
    (open_root / "Train" / "Fake").chmod(0)
    found = outcome(start(open_root, folder, "--uid", str(NOBODY)))
    assert f"{open_root}/Train/Fake: the folder cannot be listed (Permission denied)" in found["error"]
    open_root.chmod(0)
    assert (
        f"{open_root}: the folder cannot be listed" in outcome(start(open_root, folder, "--uid", str(NOBODY)))["error"]
    )


@needs_root
def test_a_data_set_that_may_not_be_written_is_read(open_root: Path) -> None:
    folder = open_root.with_name("cache")
    folder.mkdir()
    folder.chmod(0o777)
    for path in [open_root, *open_root.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert len(outcome(start(open_root, folder, "--uid", str(NOBODY)))["paths"]) == 8


def test_two_hundred_thousand_files_take_little_memory(root: Path, tmp_path: Path) -> None:
    for folder in range(200):
        place = root / "Train" / "Fake" / str(folder)
        place.mkdir()
        (place / "face.jpg").write_bytes(saved(FACE, "JPEG"))
        for number in range(999):
            os.close(os.open(f"{place}/{number}.jpg", os.O_CREAT | os.O_WRONLY))
    found = outcome(start(root, tmp_path / "cache"), seconds=1200)
    assert (len(found["paths"]), len(found["unreadable"])) == (208, 199_800)
    assert found["peak"] < 1e9
