"""Find the images of a data set that are copies of each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

SIDE = 64  # a thumbnail's side in pixels


@dataclass(frozen=True)
class Pair:
    """Two images of which one is a copy of the other."""

    a: int
    b: int
    kind: Literal["exact", "near", "mirrored", "crop"]
    similarity: float


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Shrink a picture, shape (H, W, 3), uint8 RGB, to a grey square of (SIDE, SIDE), uint8."""
    return cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def find(thumbnails: np.ndarray, digests: Sequence[str]) -> list[Pair]:
    """Find exact copies (the rest follows)."""
    first: dict[str, int] = {}
    found = [(first.setdefault(digest, index), index) for index, digest in enumerate(digests)]
    return [Pair(a, b, "exact", 1.0) for a, b in found if a != b]
