"""Frames of real little videos: which ones, when, and what becomes of files that are not what they say."""

import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepfake.config import PROJECT
from deepfake.data.video import FAR, sample
from deepfake.errors import ImageError

FPS, BITS = 20, 12
CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".m4v": "mp4v", ".avi": "MJPG", ".mkv": "VP80", ".webm": "VP80"}


def numbered(number: int) -> np.ndarray:
    """A frame on which its number is written in black and white, 12 bits in a row, the lowest at the left."""
    bits = np.array([number >> bit & 1 for bit in range(BITS)], np.uint8) * 255
    return np.repeat(np.kron(bits[None], np.ones((48, 8), np.uint8))[..., None], 3, axis=2)


def number_on(pixels: np.ndarray) -> int:
    bits = pixels[:, :, 0].reshape(48, BITS, 8).mean(axis=(0, 2)) > 127
    return sum(int(bit) << place for place, bit in enumerate(bits))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """Write a video of so many numbered frames, 20 a second."""

    def write(suffix: str, frames: int) -> Path:
        path = tmp_path_factory.mktemp("film") / f"film{suffix}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*CODECS[suffix]), FPS, (8 * BITS, 48))
        for number in range(frames):
            writer.write(numbered(number))
        writer.release()
        return path

    return write


def numbers(path: Path, count: int) -> list[int]:
    return [number_on(frame.pixels) for frame in sample(path, count)]


@pytest.mark.parametrize("suffix", CODECS)
def test_frames_are_evenly_spread_over_the_video(film: Callable, suffix: str) -> None:
    path = film(suffix, 100)
    assert numbers(path, 4) == [12, 37, 62, 87]
    assert [frame.seconds for frame in sample(path, 4)] == pytest.approx([12 / FPS, 37 / FPS, 62 / FPS, 87 / FPS])


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".webm"])
def test_in_a_long_video_the_right_frames_are_jumped_to(film: Callable, suffix: str) -> None:
    frames = 5 * FAR
    assert numbers(film(suffix, frames), 3) == [frames // 6, frames // 2, frames * 5 // 6]


def test_of_a_short_video_every_frame_is_taken_once(film: Callable) -> None:
    assert numbers(film(".mp4", 3), 32) == [0, 1, 2]
    assert numbers(film(".mp4", 1), 32) == [0]


def test_colours_are_those_of_the_video(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), FPS, (64, 48))
    writer.write(np.full((48, 64, 3), (20, 60, 200), np.uint8))  # OpenCV's order: blue, green, red
    writer.release()
    (frame,) = sample(tmp_path / "a.avi", 1)
    assert frame.pixels.dtype == np.uint8
    assert frame.pixels.mean(axis=(0, 1)) == pytest.approx([200, 60, 20], abs=6)


def test_a_video_that_tells_no_length_is_read_to_its_end(film: Callable, tmp_path: Path) -> None:
    """As a browser writes it while it records: Matroska without its Duration element."""
    content = film(".webm", 100).read_bytes()
    assert content.count(b"\x44\x89\x88") == 1
    (tmp_path / "live.webm").write_bytes(content.replace(b"\x44\x89\x88", b"\xec\x89\x00"))  # nothing, as long
    assert cv2.VideoCapture(str(tmp_path / "live.webm")).get(cv2.CAP_PROP_FRAME_COUNT) <= 0
    assert numbers(tmp_path / "live.webm", 4) == [12, 37, 62, 87]


@pytest.mark.parametrize("told", [40.0, 3_000.0, 1e9])
def test_a_video_that_tells_a_wrong_length_is_read_to_its_end(film: Callable, tmp_path: Path, told: float) -> None:
    content = film(".webm", 100).read_bytes()
    at = content.index(b"\x44\x89\x88") + 3
    (tmp_path / "wrong.webm").write_bytes(content[:at] + struct.pack(">d", told * 1000 / FPS) + content[at + 8 :])
    assert cv2.VideoCapture(str(tmp_path / "wrong.webm")).get(cv2.CAP_PROP_FRAME_COUNT) == told
    assert numbers(tmp_path / "wrong.webm", 4) == [12, 37, 62, 87]


def test_a_download_that_broke_off_is_sampled_as_far_as_it_goes(film: Callable, tmp_path: Path) -> None:
    content = film(".webm", 400).read_bytes()
    (tmp_path / "cut.webm").write_bytes(content[: len(content) // 2])
    found = numbers(tmp_path / "cut.webm", 8)
    assert len(found) == 8
    assert found[-1] < 300
    assert np.ptp(np.diff([0, *found])[1:]) <= 1


def test_a_video_that_was_filmed_upright_is_upright(film: Callable, tmp_path: Path) -> None:
    """A phone writes the frames as they lie in its sensor, and a matrix into the track's header."""
    content = film(".mp4", 3).read_bytes()
    at = content.index(b"tkhd") + 44
    turned = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    assert struct.unpack(">9i", content[at : at + 36])[0] == 0x10000
    (tmp_path / "turned.mp4").write_bytes(content[:at] + turned + content[at + 36 :])
    (frame,) = sample(tmp_path / "turned.mp4", 1)
    assert frame.pixels.shape == (8 * BITS, 48, 3)
    assert number_on(np.rot90(frame.pixels)) == 1


def test_what_is_no_video_is_said_in_a_line_without_a_path(tmp_path: Path, film: Callable) -> None:
    whole = film(".mp4", 50).read_bytes()
    contents = {"empty": b"", "text": b"text" * 500, "cut": whole[: len(whole) // 2]}  # an MP4's table is at its end
    for name, content in contents.items():
        (tmp_path / f"{name}.mp4").write_bytes(content)
    for name, line in {
        "empty.mp4": "an empty file",
        "text.mp4": "not a video, or a damaged one",
        "cut.mp4": "not a video, or a damaged one",
        "gone.mp4": "the file is not there",
        ".": "a folder, not a video",
        os.fsdecode(b"caf\xe9.mp4"): "not valid UTF-8",
    }.items():
        with pytest.raises(ImageError, match=line) as caught:
            list(sample(tmp_path / name, 4))
        assert str(tmp_path) not in str(caught.value)


def test_frames_that_are_too_large_are_not_decoded(film: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepfake.data.video.MAX_PIXELS", 4_000)
    with pytest.raises(ImageError, match="megapixels"):
        list(sample(film(".mp4", 3), 1))


def test_a_name_that_looks_like_an_address_is_a_name(film: Callable, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("http:clip%02d é.mp4").write_bytes(film(".mp4", 4).read_bytes())
    assert numbers(Path("http:clip%02d é.mp4"), 4) == [0, 1, 2, 3]


def test_nothing_is_printed_and_nothing_else_is_loaded(film: Callable, tmp_path: Path) -> None:
    """FFmpeg and OpenCV write to the terminal by themselves, unless they are told not to before they begin."""
    content = bytearray(film(".mp4", 200).read_bytes())
    content[1_000:1_200] = np.random.default_rng(0).bytes(200)
    (tmp_path / "damaged.mp4").write_bytes(content)
    (tmp_path / "text.mp4").write_bytes(b"text" * 500)
    program = """
import sys
from pathlib import Path
from deepfake.data.video import sample
from deepfake.errors import ImageError
for path in sys.argv[1:]:
    try:
        print(len(list(sample(Path(path), 8))))
    except ImageError:
        print("no video")
assert not {"tensorflow", "mlflow", "hydra"} & sys.modules.keys()
"""
    command = [sys.executable, "-c", program, str(tmp_path / "damaged.mp4"), str(tmp_path / "text.mp4")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert re.fullmatch(r"\d\nno video\n", done.stdout)
    asked = os.environ | {"OPENCV_FFMPEG_LOGLEVEL": "16"}
    loud = subprocess.run(command, cwd=PROJECT, env=asked, capture_output=True, text=True, check=True)
    assert "moov atom not found" in loud.stdout  # who asks for it has it, and there is something to be silent about
