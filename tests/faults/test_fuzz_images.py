"""Damaged images of every format become pixels or one clear line: `FUZZ_SECONDS=600` looks for longer."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from deepfake.data.duplicates import SIDE, thumbnail
from deepfake.data.images import MAX_PIXELS, MAX_SIDE, is_animated, read, square
from deepfake.data.traits import measure
from deepfake.errors import ImageError
from tests.faults.fuzzing import examples
from tests.page.mutations import EXTREMES, pictures

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore")]

BROKE = sorted((Path(__file__).parent / "corpus" / "images").iterdir())  # what the reader once could not cope with
GIGABYTES = 1.5  # that reading one image may take


def pointing(tags: int, size: int) -> bytes:
    """EXIF in which each of many tags points at all the rest."""
    listed = (struct.pack("<HHII", 10_000 + tag, 7, size - 10, 10) for tag in range(tags))
    return (b"II*\0" + struct.pack("<IH", 8, tags) + b"".join(listed)).ljust(size, b"\0")


def saved(image: Image.Image, kind: str, **how: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8))
WHOLE = [
    *(content for _, content in pictures()),
    *(saved(NOISE.convert(mode), "TIFF") for mode in ("1", "L", "P", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "F")),
    *(saved(NOISE, "TIFF", compression=how) for how in ("packbits", "tiff_lzw", "tiff_deflate", "lzma", "zstd")),
    *(saved(NOISE.convert("1"), "TIFF", compression=how) for how in ("group3", "group4", "tiff_ccitt")),
    *(saved(NOISE.convert(mode), "PNG") for mode in ("1", "L", "LA", "I;16")),
    *(saved(NOISE.convert(mode), "BMP") for mode in ("1", "L", "RGBA")),
    saved(NOISE, "JPEG", restart_marker_rows=1, subsampling=0),
    saved(NOISE, "GIF", interlace=True),
    saved(NOISE.convert("RGBA"), "WEBP"),
    *(saved(NOISE, kind, exif=pointing(40, 900)) for kind in ("JPEG", "PNG", "WEBP")),
]


def place(draw: st.DrawFn, content: bytes) -> int:
    """A place in a file; half of them where its header or, in a TIFF, its tags are."""
    end = len(content)
    return draw(st.integers(0, end) | st.integers(0, min(end, 200)) | st.integers(max(0, end - 300), end))


def flip(draw: st.DrawFn, content: bytes) -> bytes:
    at = place(draw, content)
    return content[:at] + bytes(byte ^ draw(st.integers(1, 255)) for byte in content[at : at + 1]) + content[at + 1 :]


def lie(draw: st.DrawFn, content: bytes) -> bytes:
    """Write a number where one may stand: a size, a count, a place."""
    form = draw(st.sampled_from(("B", "<H", ">H", "<I", ">I")))
    most = 256 ** struct.calcsize(form) - 1
    number = struct.pack(form, min(draw(st.sampled_from(EXTREMES) | st.integers(0, 2**32 - 1)), most))
    at = place(draw, content)
    return content[:at] + number + content[at + len(number) :]


def cut(draw: st.DrawFn, content: bytes) -> bytes:
    return content[: place(draw, content)]


def take_out(draw: st.DrawFn, content: bytes) -> bytes:
    at = place(draw, content)
    return content[:at] + content[at + draw(st.integers(1, 400)) :]


def repeat(draw: st.DrawFn, content: bytes) -> bytes:
    at = place(draw, content)
    piece = content[at : at + draw(st.integers(1, 200))]
    return content[:at] + piece * draw(st.integers(2, 300)) + content[at:]


def splice(draw: st.DrawFn, content: bytes) -> bytes:
    other = draw(st.sampled_from(WHOLE))
    start = place(draw, other)
    return (
        content[: place(draw, content)]
        + other[start : start + draw(st.integers(1, 4000))]
        + content[place(draw, content) :]
    )


def put_in(draw: st.DrawFn, content: bytes) -> bytes:
    at = place(draw, content)
    return content[:at] + draw(st.binary(max_size=100)) + content[at:]


def vouch(draw: st.DrawFn, content: bytes) -> bytes:
    """Mend the checksums of a PNG, so that what is wrong in its chunks is looked at."""
    mended, at = bytearray(content), 8
    while content.startswith(b"\x89PNG") and at + 12 <= len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        mended[end : end + 4] = struct.pack(">I", zlib.crc32(content[at + 4 : end]))
        at = end + 4
    return bytes(mended)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    content = draw(st.sampled_from(WHOLE))
    for damage in draw(
        st.lists(st.sampled_from((flip, lie, cut, take_out, repeat, splice, put_in)), min_size=1, max_size=6)
    ):
        content = damage(draw, content)
    return vouch(draw, content) if draw(st.booleans()) else content


def peak() -> int:
    """Bytes of memory that this process ever held, or held since `peak_from_here`."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def peak_from_here() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def reads_or_says_why(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    assert is_animated(path) in (True, False)
    try:
        pixels = read(path)
    except ImageError as error:
        assert str(path) not in str(error)
        assert "\n" not in str(error)
        return
    height, width, channels = pixels.shape
    assert pixels.dtype == np.uint8
    assert channels == 3
    assert 0 < height * width <= MAX_PIXELS
    assert max(height, width) <= MAX_SIDE
    # And what becomes of it when a data set is decoded.
    assert square(pixels, 32, "squash").shape == square(pixels, 32, "crop").shape == (32, 32, 3)
    assert thumbnail(pixels).shape == (SIDE, SIDE)
    assert np.isfinite(measure(content, pixels)).all()


def test_every_damaged_image_is_read_or_refused(tmp_path: Path) -> None:
    def reader(content: bytes) -> None:
        peak_from_here()
        before = peak()
        reads_or_says_why(content, tmp_path / "image")
        assert peak() < before + GIGABYTES * 1e9

    assert examples(reader, damaged()) >= 50


@pytest.mark.parametrize("content", [*WHOLE, *(path.read_bytes() for path in BROKE)])
def test_whole_images_and_what_once_broke_the_reader(tmp_path: Path, content: bytes) -> None:
    reads_or_says_why(content, tmp_path / "image")
