"""Bytes of a still image -> upright 8-bit RGB pixels -> the square that a model sees.

Training, prediction and the app all read images here, so a model never meets pixels that were decoded in another way.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from deepfake.errors import ImageError

Resize = Literal["squash", "crop", "pad"]

SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MAX_PIXELS = 50_000_000  # a larger picture is no face crop, and decoding it could exhaust the memory
MAX_SIDE = 12_000  # pixels: what is longer takes gigabytes when it is padded to a square
MAX_SCANS, MAX_PIECES = 100, 100_000  # of a progressive JPEG, of a TIFF: more only keep a decoder busy, for hours


def read(source: str | Path | bytes) -> np.ndarray:
    """Decode an image file.

    Args:
        source: A path, or the file's bytes.

    Returns:
        Upright RGB pixels, shape (H, W, 3), uint8. Of an animation, the first frame; transparency lies over white.

    Raises:
        ImageError: If it is no image, is damaged, or has more than `MAX_PIXELS` pixels.
    """
    file = BytesIO(source) if isinstance(source, bytes) else source
    try:
        with opening("an image"), Image.open(file, formats=FORMATS) as image:
            return from_pil(image)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(_not_an_image(source)) from None
    except Image.DecompressionBombError:
        raise ImageError(_too_large("more than 178")) from None
    except Exception as error:  # a decoder fed with outside bytes may raise anything
        raise ImageError(f"a damaged or incomplete image ({type(error).__name__})") from None


@contextmanager
def opening(what: str) -> Iterator[None]:
    """Say why a file cannot be opened, as an `ImageError` without its path.

    Args:
        what: It should be, like `an image`.
    """
    try:
        yield
    except FileNotFoundError:
        raise ImageError("the file is not there") from None
    except IsADirectoryError:
        raise ImageError(f"a folder, not {what}") from None
    except PermissionError:
        raise ImageError("the file may not be read") from None


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
        raise ImageError("an image in too many pieces; save it anew")
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


def _not_an_image(source: str | Path | bytes) -> str:
    empty = len(source) == 0 if isinstance(source, bytes) else Path(source).stat().st_size == 0
    return "an empty file" if empty else "not an image; JPEG, PNG, WebP, BMP, TIFF and GIF are read"


def _too_large(megapixels: str) -> str:
    return f"{megapixels} megapixels; at most {MAX_PIXELS // 1_000_000} are read"
