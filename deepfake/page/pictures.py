"""A visitor's file -> the squares that the model looks at, and what is shown of them. Nothing of it is kept."""

import base64
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import BoundedSemaphore

import numpy as np
from PIL import Image

from deepfake import threads
from deepfake.data import faces
from deepfake.data.images import Resize, is_animated, read, square
from deepfake.detector import Detector

SHOWN = 512  # pixels of the longer side of what is shown
_decoders = BoundedSemaphore(threads.count())  # a picture of 50 megapixels takes half a gigabyte while it is read


@dataclass(frozen=True)
class View:
    """What the model looks at: a whole picture, or the face in it.

    Attributes:
        square: As the model takes it, (size, size, 3), uint8 RGB.
        shown: The same for people: in its own proportions and larger, (H, W, 3), uint8 RGB.
    """

    square: np.ndarray
    shown: np.ndarray


@dataclass(frozen=True)
class Picture:
    """A picture that was read.

    Attributes:
        whole: All of it.
        face: The face in it, cut out as the faces were on which the model was trained; None where the whole picture is
            such a close face already, or no face was found.
        animated: Whether it is the first of several in the file.
    """

    whole: View
    face: View | None
    animated: bool


def read_picture(path: Path, detector: Detector) -> Picture:
    """Read a visitor's file.

    Args:
        path: The file.
        detector: Whose geometry decides what the model sees, and whether the face is cut out.

    Returns:
        The picture.

    Raises:
        ImageError: If it is not a still image that can be read. The message holds no path.
    """
    with _decoders:
        pixels = read(path)
        return Picture(_view(pixels, detector), _face(pixels, detector), is_animated(path))


def data_uri(image: np.ndarray) -> str:
    """Encode an image for use within a page.

    Args:
        image: (H, W, 3) RGB as JPEG, or (H, W, 4) RGBA as PNG, uint8.

    Returns:
        A `data:` URI. It holds pixels alone, no metadata.
    """
    kind = "jpeg" if image.shape[2] == 3 else "png"
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, kind, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _view(pixels: np.ndarray, detector: Detector) -> View:
    return View(detector.prepare(pixels), _shown(pixels, detector.card.resize))


def _face(pixels: np.ndarray, detector: Detector) -> View | None:
    if detector.card.framing is None:
        return None
    framing = faces.Framing(**detector.card.framing)
    cut = faces.closer(pixels, framing)
    return None if cut is None or cut is pixels else _view(cut, detector)


def _shown(pixels: np.ndarray, resize: Resize) -> np.ndarray:
    """Show what the model sees: where that is squashed, in its own proportions, over which heat is stretched alike."""
    if resize != "squash":
        return square(pixels, SHOWN, resize)
    image = Image.fromarray(pixels)
    scale = SHOWN / max(image.size)
    size = [max(round(side * scale), 1) for side in image.size]
    return np.array(image.resize(size, Image.Resampling.BICUBIC if scale < 1 else Image.Resampling.BILINEAR))
