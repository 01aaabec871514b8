"""Any still image becomes upright 8-bit RGB, or says what is wrong with it."""

import io
import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepfake.data.images import MAX_PIXELS, read, square
from deepfake.errors import ImageError

RED = np.full((20, 30, 3), (200, 30, 40), np.uint8)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_every_format_keeps_its_colours(kind: str) -> None:
    pixels = read(encode(Image.fromarray(RED), kind))
    assert pixels.shape == (20, 30, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - RED).max() <= 6


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    kind = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    pixels = read(encode(Image.fromarray(RED).convert(mode), kind))
    assert pixels.shape == (20, 30, 3)
    if mode in ("P", "RGBA", "CMYK", "YCbCr"):
        assert pixels[..., 0].mean() > pixels[..., 1].mean() + 60


def test_a_16_bit_image_keeps_its_grey() -> None:
    grey = np.full((8, 8), 32768, np.uint16)
    assert np.unique(read(encode(Image.fromarray(grey), "PNG"))).tolist() == [128]


def test_transparency_lies_over_white() -> None:
    clear = Image.fromarray(np.zeros((4, 4, 4), np.uint8))
    assert np.unique(read(encode(clear, "PNG"))).tolist() == [255]


def test_a_palette_with_transparency_lies_over_white() -> None:
    image = Image.fromarray(np.zeros((4, 4), np.uint8)).convert("P")
    assert np.unique(read(encode(image, "PNG", transparency=0))).tolist() == [255]


def test_a_rotated_photograph_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    assert read(encode(Image.fromarray(RED), "JPEG", exif=exif.tobytes())).shape == (30, 20, 3)


def test_of_an_animation_the_first_frame_is_read() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    pixels = read(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert pixels[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"just text", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (encode(Image.fromarray(RED), "JPEG")[:200], "damaged"),
        (
            encode(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)), "PNG")[:900],
            "damaged",
        ),
    ],
)
def test_what_is_no_image_says_so(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        read(content)


def declared_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header declares any size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("side", [7_500, 12_000, 60_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    assert side * side > MAX_PIXELS
    with pytest.raises(ImageError, match="megapixels; at most 50"):
        read(declared_png(side, side))


def test_of_a_moving_webp_the_first_frame_is_read() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    red, _, blue = read(encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True))[0, 0]
    assert red > 250
    assert blue < 5


def test_a_photograph_that_declares_gigabytes_is_refused() -> None:
    content = bytearray(encode(Image.fromarray(RED), "JPEG"))
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", 65535, 65535)
    with pytest.raises(ImageError, match="megapixels; at most 50"):
        read(bytes(content))


def pointing(tags: int, size: int) -> bytes:
    """A TIFF, or EXIF, in which each of many tags points at all the rest."""
    listed = (struct.pack("<HHII", 10_000 + tag, 7, size - 10, 10) for tag in range(tags))
    return (b"II*\0" + struct.pack("<IH", 8, tags) + b"".join(listed)).ljust(size, b"\0")


@pytest.mark.parametrize("kind", ["TIFF", "JPEG", "PNG", "WEBP"])
def test_metadata_that_take_many_times_the_files_size_are_refused(kind: str) -> None:
    """A megabyte of them took ten gigabytes."""
    exif = pointing(10_000, 1_000_000)
    if kind == "TIFF":
        content = exif
    elif kind == "JPEG":  # goes on from segment to segment
        parts = [exif[start : start + 65_000] for start in range(0, len(exif), 65_000)]
        segments = [b"\xff\xe1" + struct.pack(">H", len(part) + 8) + b"Exif\0\0" + part for part in parts]
        content = b"\xff\xd8" + b"".join(segments) + encode(Image.fromarray(RED), "JPEG")[2:]
    else:
        content = encode(Image.fromarray(RED), kind, exif=exif)
    with pytest.raises(ImageError, match="metadata lie about their size"):
        read(content)


def test_a_tiff_of_a_million_strips_is_refused_before_they_are_listed() -> None:
    tags = [(256, 4, 1, 1), (257, 4, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1_000_000, 200)]
    listed = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    with pytest.raises(ImageError, match="too many pieces"):
        read((b"II*\0" + struct.pack("<IH", 8, len(tags)) + listed).ljust(4_000_200, b"\0"))


def test_a_file_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "large.bmp").touch()
    os.truncate(tmp_path / "large.bmp", 10_000_000_000)  # of nothing
    with pytest.raises(ImageError, match="a file of 10000 MB; at most 256 are read"):
        read(tmp_path / "large.bmp")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such pipes")
def test_a_pipe_and_a_socket_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    os.mkfifo("pipe.jpg")
    with pytest.raises(ImageError, match="a pipe or a device"):
        read("pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.jpg")
        with pytest.raises(ImageError, match="cannot be read"):
            read("socket.jpg")


def test_a_missing_file_and_a_folder_say_so(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="not there"):
        read(tmp_path / "nothing.jpg")
    with pytest.raises(ImageError, match="folder"):
        read(tmp_path)


def test_no_message_holds_a_path(tmp_path: Path) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(b"text")
    with pytest.raises(ImageError) as caught:
        read(path)
    assert "secret" not in str(caught.value)


def test_squash_crop_and_pad() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    assert square(wide, 10, "crop").min() == 255
    padded = square(wide, 30, "pad")
    assert padded[:10].max() == 0
    assert padded[15, 15].tolist() == [255, 255, 255]
    squashed = square(wide, 12, "squash")
    assert squashed.shape == (12, 12, 3)
    assert squashed[:, 0].max() == 0
    assert squashed[:, 6].min() == 255


def test_the_right_size_is_left_alone() -> None:
    image = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    assert np.array_equal(square(image, 16, "squash"), image)
