"""Bytes of a still image -> upright 8-bit RGB pixels -> the square that a model sees.

Training, prediction and the app all read images here, so a model never meets pixels that were decoded in another way.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, BinaryIO, Literal

import numpy as np
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from deepfake.errors import ImageError

Resize = Literal["squash", "crop", "pad"]

SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MAX_PIXELS = 50_000_000  # a larger picture is no face crop, and decoding it could exhaust the memory
MAX_BYTES = 256_000_000  # of a file: as many pixels, not compressed and with transparency, take 200
MAX_SIDE = 12_000  # pixels: what is longer takes gigabytes when it is padded to a square
PIECES = "an image in too many pieces; save it anew"
MAX_SCANS, MAX_PIECES = 100, 100_000  # of a progressive JPEG, of a TIFF: more only keep a decoder busy, for hours


class _Bounded:
    """A file of which no more is read than twice what it holds."""

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read
        here = file.tell()
        self._left = 2 * file.seek(0, os.SEEK_END)
        file.seek(here)

    def read(self, size: int = -1) -> bytes:
        content = self._read(size)
        self._left -= len(content)
        if self._left < 0:
            raise ImageError("an image whose metadata lie about their size; save it anew")
        return content


class _Tags(TiffImagePlugin.ImageFileDirectory_v2):
    """The tags of a TIFF, or of the EXIF in any other file.

    Pillow copies what each of them points at, and 65,535 may all point at the whole file; then it lists all pieces of
    the image, of which some megabytes can hold millions.
    """

    def load(self, fp: IO[bytes]) -> None:
        super().load(_Bounded(fp))  # type: ignore[arg-type]  # it only seeks, tells and reads
        pieces = (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.TILEOFFSETS)
        if any(len(self._tagdata.get(tag, b"")) > 4 * MAX_PIECES for tag in pieces):
            raise ImageError(PIECES)


TiffImagePlugin.ImageFileDirectory_v2 = _Tags  # type: ignore[misc]  # the one place through which Pillow reads all of them


def read(source: str | Path | bytes) -> np.ndarray:
    """Decode an image file.

    Args:
        source: A path, or the file's bytes.

    Returns:
        Upright RGB pixels, shape (H, W, 3), uint8. Of an animation, the first frame; transparency lies over white.

    Raises:
        ImageError: If it is no image, is damaged, or has more than `MAX_PIXELS` pixels.
    """
    content = source if isinstance(source, bytes) else read_bytes(source)
    if not content:
        raise ImageError("an empty file")
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            return from_pil(image)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError("not an image; JPEG, PNG, WebP, BMP, TIFF and GIF are read") from None
    except Image.DecompressionBombError:
        raise ImageError(_too_large("more than 178")) from None
    except Exception as error:  # a decoder fed with outside bytes may raise anything
        raise ImageError(f"a damaged or incomplete image ({type(error).__name__})") from None


def read_bytes(path: str | Path) -> bytes:
    """Read an image file as it is.

    Args:
        path: The file.

    Returns:
        Its bytes.

    Raises:
        ImageError: If it cannot be read, or has more than `MAX_BYTES`.
    """
    with opening(path, "an image") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise ImageError(f"a file of {size / 1e6:.0f} MB; at most {MAX_BYTES // 1_000_000} are read")
        return file.read()


@contextmanager
def opening(path: str | Path, what: str) -> Iterator[BinaryIO]:
    """Open a file to read, or say why it cannot be, as an `ImageError` without its path.

    Args:
        path: The file.
        what: It should be, like `an image`.

    Yields:
        The open file.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ImageError(f"a pipe or a device, not {what}")
            yield file
    except (FileNotFoundError, ValueError):  # of a name that no file can have
        raise ImageError("the file is not there") from None
    except IsADirectoryError:
        raise ImageError(f"a folder, not {what}") from None
    except PermissionError:
        raise ImageError("the file may not be read") from None
    except OSError as error:
        raise ImageError(f"the file cannot be read ({error.strerror})") from None


def is_animated(path: Path) -> bool:
    """Say of a file that `read` can read whether it holds more than the one picture that is read."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            # Not `n_frames`, for which Pillow walks through all of them; a photograph with another in it is an MPO.
            return image.format != "MPO" and getattr(image, "is_animated", False)
    except Exception:  # what follows the first frame is damaged
        return False


def from_pil(image: Image.Image) -> np.ndarray:
    """Convert a Pillow image of any mode to upright RGB.

    Args:
        image: The image; grey, palette, RGBA, CMYK and 16-bit ones as well.

    Returns:
        Pixels, shape (H, W, 3), uint8.

    Raises:
        ImageError: If it has more than `MAX_PIXELS` pixels, or floating-point ones.
    """
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(_too_large(f"{image.width * image.height / 1e6:.0f}"))
    if max(image.size) > MAX_SIDE:
        raise ImageError(f"{max(image.size)} pixels long; at most {MAX_SIDE} are read")
    if len(getattr(image, "tile", ())) > MAX_PIECES or _scans(image) > MAX_SCANS:
        raise ImageError(PIECES)
    if image.mode == "F":
        raise ImageError("floating-point pixels, whose range is not known; save it with 8 or 16 bits")
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits a channel: Pillow's own conversion clips it to white
        grey = (np.clip(np.asarray(image), 0, 65535).astype(np.int32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.array(image.convert("RGB"))


def square(image: np.ndarray, size: int, resize: Resize) -> np.ndarray:
    """Fit an image into the model's square.

    Args:
        image: Pixels, shape (H, W, 3), uint8.
        size: Side of the square in pixels.
        resize: `squash` the whole picture, `crop` its middle, or `pad` its shorter side with black.

    Returns:
        Pixels, shape (size, size, 3), uint8.
    """
    height, width = image.shape[:2]
    if resize == "pad" and height != width:
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        image = np.pad(image, ((top, side - height - top), (left, side - width - left), (0, 0)))
    elif resize == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        image = image[top : top + side, left : left + side]
    if image.shape[:2] == (size, size):
        return image
    # Bicubic, widened by Pillow when it shrinks: no aliasing, and more of the fine traces left than with bilinear.
    return np.array(Image.fromarray(np.ascontiguousarray(image)).resize((size, size), Image.Resampling.BICUBIC))


def _scans(image: Image.Image) -> int:
    """Count how often a progressive JPEG goes over the picture, each time at the cost of all of it."""
    if not image.info.get("progressive") or not isinstance(image, ImageFile.ImageFile) or not image.fp:
        return 0
    image.fp.seek(0)  # where Pillow begins as well
    return image.fp.read().count(b"\xff\xda")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # for somebody to write into a pipe


def _too_large(megapixels: str) -> str:
    return f"{megapixels} megapixels; at most {MAX_PIXELS // 1_000_000} are read"
