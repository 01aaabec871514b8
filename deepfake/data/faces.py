"""Where faces lie in pictures, how they lay in the pictures that a model learnt from, and crops that make up for it.

Faces are found by the cascades of Viola and Jones (Rapid Object Detection using a Boosted Cascade of Simple Features,
CVPR 2001) that come with OpenCV 4: upright and seen from the front, and rather missed than seen where there is none.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from cv2.data import haarcascades

from deepfake.data.mapped import read_rows

# Measured on two sets of face crops, scenes made of them, and pictures without a face: `alt2` finds the most at the
# least cost, and what the two others are then as sure of as this is hardly ever anything but a face.
SEARCH, CONFIRM = "alt2", {"alt": 107.0, "default": 1.0}  # the least sum of the last stage's votes
CLOSER = 96  # side in pixels at which a place is looked at again, so that its face is about half as large
MOST = 4  # places that are looked at again, the largest first: a crowd would take long
ENOUGH = 0.5  # share of a data set's pictures in which a face must be found for their framing to mean something
# Share of width and height that a crop must keep for the picture to do as well: of 1,000 Test pictures none failed it.
KEPT = 0.7


@dataclass(frozen=True)
class Face:
    """A face: the square from above the brows to below the mouth.

    Attributes:
        x: Of the square's centre, in pixels from the left.
        y: Of the square's centre, in pixels from the top.
        size: Side of the square in pixels.
    """

    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Framing:
    """How faces lie in the squares that a model learnt from; medians, in shares of the square's side.

    Attributes:
        size: Side of a face's square.
        x: Of its centre, from the left.
        y: Of its centre, from the top.
        found: Share of the pictures in which a face was found.
    """

    size: float
    x: float
    y: float
    found: float


class _Look(NamedTuple):
    """How a picture is searched: its longer side in pixels, what is put around it, from one size to the next, from."""

    side: int
    margin: int
    step: float
    least: int


# A face that fills the picture is found only with something around it; a small one only in a larger picture.
NEAR, FAR = _Look(112, 28, 1.1, 24), _Look(400, 0, 1.2, 20)
AROUND = Framing(size=0.5, x=0.5, y=0.5, found=1)


def find(image: np.ndarray) -> list[Face]:
    """Find the faces in a picture: large ones, and only where there is none, smaller ones.

    Args:
        image: Pixels, shape (H, W, 3), uint8 RGB.

    Returns:
        At most `MOST` faces, the largest first. A face that takes less than a tenth of the picture's longer side is
            often missed, below a 20th always.
    """
    with _cascades() as cascades:
        return _confirmed(cascades, image, NEAR) or _confirmed(cascades, image, FAR)


def measure(images: np.ndarray, limit: int = 100) -> Framing | None:
    """Measure how faces lie in a data set's pictures.

    Args:
        images: Shape (N, size, size, 3), uint8 RGB; it may be mapped from the disk.
        limit: At most so many are looked at, evenly spread.

    Returns:
        The medians over the largest face of each; None where too few have a face that takes a fifth of the side.
    """
    rows = np.unique(np.linspace(0, len(images) - 1, min(limit, len(images))).round().astype(np.int64))
    with _cascades() as cascades:
        found = [_confirmed(cascades, image, NEAR)[:1] for image in read_rows(images, rows)]
    boxes = [(face.size, face.x, face.y) for faces in found for face in faces]
    share = len(boxes) / max(len(rows), 1)
    if share < ENOUGH:
        return None
    size, x, y = (np.median(boxes, axis=0) / images.shape[1]).tolist()
    return Framing(size, x, y, share)


def crop(image: np.ndarray, face: Face, framing: Framing) -> np.ndarray:
    """Cut out the square in which a face lies as faces lay in training.

    Where it reaches beyond the picture, the picture goes on as its mirror image, as at the edges of training's warps:
    a square moved or shrunk into the picture would show the face at another place or size.

    Args:
        image: Pixels, shape (H, W, 3), uint8.
        face: Where the face is.
        framing: Where it shall be.

    Returns:
        Pixels, shape (S, S, 3), uint8, not resized; S is at most three times the picture's longer side.
    """
    height, width = image.shape[:2]
    side = max(1, round(min(face.size / framing.size, 3 * max(height, width))))
    left = min(max(round(face.x - framing.x * side), 1 - side), width - 1)
    top = min(max(round(face.y - framing.y * side), 1 - side), height - 1)
    inside = np.ascontiguousarray(image[max(top, 0) : top + side, max(left, 0) : left + side])
    above, before = max(-top, 0), max(-left, 0)
    below, behind = side - above - inside.shape[0], side - before - inside.shape[1]
    return cv2.copyMakeBorder(inside, above, below, before, behind, cv2.BORDER_REFLECT_101)


def is_close(face: Face, image: np.ndarray, framing: Framing) -> bool:
    """Tell whether a picture shows a face about as large and as central as in training, or larger.

    Args:
        face: Where the face is.
        image: The picture, shape (H, W, 3).
        framing: Of the training.

    Returns:
        Whether a crop would leave out so little of its width and of its height that the whole picture does as well.
    """
    side = face.size / framing.size
    start = np.array((face.x - framing.x * side, face.y - framing.y * side))
    extent = np.array(image.shape[1::-1])
    kept = np.minimum(start + side, extent) - np.maximum(start, 0)
    return bool(np.all(kept >= KEPT * extent))


def closer(image: np.ndarray, framing: Framing) -> np.ndarray | None:
    """Show the largest face of a picture as faces lay in training.

    Args:
        image: The picture, shape (H, W, 3), uint8 RGB.
        framing: Of the training.

    Returns:
        The crop of `crop`; `image` itself where that does as well (`is_close`); None where no face is found.
    """
    found = find(image)
    if not found:
        return None
    return image if is_close(found[0], image, framing) else crop(image, found[0], framing)


_idle: deque[dict[str, cv2.CascadeClassifier]] = deque()


@contextmanager
def _cascades() -> Iterator[dict[str, cv2.CascadeClassifier]]:
    """Lend cascades: one may not be used by two threads at once, and reading them takes longer than using them."""
    try:
        lent = _idle.pop()
    except IndexError:
        folder = Path(haarcascades)
        lent = {
            name: cv2.CascadeClassifier(str(folder / f"haarcascade_frontalface_{name}.xml"))
            for name in (SEARCH, *CONFIRM)
        }
    try:
        yield lent
    finally:
        _idle.append(lent)


def _confirmed(cascades: dict[str, cv2.CascadeClassifier], image: np.ndarray, look: _Look) -> list[Face]:
    faces: list[Face] = []
    places = sorted(_places(cascades[SEARCH], image, look), key=lambda face: -face.size)
    for place in places[:MOST]:
        face = _confirm(cascades, image, place)
        if face and not any(_overlap(face, other) for other in faces):
            faces.append(face)
    return sorted(faces, key=lambda face: -face.size)


def _places(cascade: cv2.CascadeClassifier, image: np.ndarray, look: _Look) -> list[Face]:
    grey = _grey(image, look.side)
    scale = max(image.shape[:2]) / look.side
    margin = look.margin
    grey = cv2.copyMakeBorder(grey, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    boxes = cascade.detectMultiScale(grey, look.step, 3, minSize=(look.least, look.least))
    return [
        Face((x + size / 2 - margin) * scale, (y + size / 2 - margin) * scale, size * scale)
        for x, y, size, _ in np.array(boxes).tolist()
    ]


def _confirm(cascades: dict[str, cv2.CascadeClassifier], image: np.ndarray, place: Face) -> Face | None:
    """Look at a place again, closer: the face that all cascades see there, measured by the first of them."""
    every = max(1, int(place.size / CLOSER))  # pixels that would be lost anyway are not even read
    thinned = Face(place.x / every, place.y / every, place.size / every)
    grey = _grey(crop(image[::every, ::every], thinned, AROUND), CLOSER)
    seen = [_central(cascades[name], grey, least) for name, least in CONFIRM.items()]
    first = seen[0]
    if first is None or not all(seen):
        return None
    scale = 2 * place.size / CLOSER
    offset = place.x - place.size, place.y - place.size
    return Face(offset[0] + first.x * scale, offset[1] + first.y * scale, first.size * scale)


def _central(cascade: cv2.CascadeClassifier, grey: np.ndarray, least: float) -> Face | None:
    """Return the surest face in the middle of a picture in which it should take half of the side."""
    low, high = CLOSER // 3, CLOSER * 2 // 3
    boxes, _, votes = cascade.detectMultiScale3(
        grey, 1.1, 2, minSize=(low, low), maxSize=(high, high), outputRejectLevels=True
    )
    sure = []
    for vote, (x, y, size, _) in zip(votes, np.array(boxes).tolist(), strict=True):
        face = Face(x + size / 2, y + size / 2, size)
        if vote >= least and max(abs(face.x - CLOSER / 2), abs(face.y - CLOSER / 2)) < CLOSER / 8:
            sure.append((vote, face))
    return max(sure, key=lambda item: item[0])[1] if sure else None


def _grey(image: np.ndarray, side: int) -> np.ndarray:
    """Return a picture in grey whose longer side is `side`; of a large one, most pixels are not read."""
    every = max(1, max(image.shape[:2]) // (2 * side))
    grey = cv2.cvtColor(np.ascontiguousarray(image[::every, ::every]), cv2.COLOR_RGB2GRAY)
    scale = side / max(image.shape[:2])
    size = [max(1, round(extent * scale)) for extent in image.shape[1::-1]]
    shrinks = grey.shape[0] > size[1]
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _overlap(face: Face, other: Face) -> bool:
    return max(abs(face.x - other.x), abs(face.y - other.y)) < max(face.size, other.size) / 2
