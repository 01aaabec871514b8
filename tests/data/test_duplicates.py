"""Copies are found whatever was done to them, other pictures are not, and many copies of one stay few pairs."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from deepfake.data import synthetic
from deepfake.data.duplicates import ALIKE, NEIGHBOURS, find, search, thumbnail
from deepfake.data.images import read


@pytest.fixture(scope="module")
def faces() -> list[np.ndarray]:
    """Drawn faces, each of another person."""
    return [read(synthetic.draw_pair(7, number)[0]) for number in range(80)]


def saved(pixels: np.ndarray, quality: int = 75) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def halved(pixels: np.ndarray) -> np.ndarray:
    return cv2.resize(cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), pixels.shape[1::-1])


def cropped(pixels: np.ndarray, side: float, seed: int) -> np.ndarray:
    height, width = (round(side * length) for length in pixels.shape[:2])
    top, left = np.random.default_rng(seed).integers(0, (pixels.shape[0] - height + 1, pixels.shape[1] - width + 1))
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def pairs_of(pictures: list[np.ndarray]) -> list:
    return find(np.stack([thumbnail(picture) for picture in pictures]), [str(i) for i in range(len(pictures))])


def test_a_thumbnail_is_the_whole_picture_in_grey() -> None:
    pixels = np.zeros((200, 100, 3), np.uint8)
    pixels[100:] = 200
    small = thumbnail(pixels)
    assert (small.shape, small.dtype) == ((64, 64), np.uint8)
    assert (small[:32] == 0).all()
    assert (small[32:] == 200).all()


def test_other_pictures_are_not_copies(faces: list[np.ndarray]) -> None:
    assert pairs_of(faces) == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda pixels: saved(pixels, 40), "near"),
        (lambda pixels: saved(halved(pixels), 80), "near"),
        (lambda pixels: saved(cv2.add(pixels, (10, 10, 10, 0))), "near"),
        (lambda pixels: saved(cv2.convertScaleAbs(pixels, alpha=0.9, beta=8)), "near"),
        (lambda pixels: saved(cv2.flip(pixels, 1), 60), "mirrored"),
        (lambda pixels: saved(cropped(pixels, 0.9, 1)), "crop"),
        (lambda pixels: saved(cropped(pixels, 0.8, 2)), "crop"),
        (lambda pixels: saved(cv2.flip(cropped(pixels, 0.85, 3), 1)), "crop"),
    ],
)
def test_a_copy_is_found_and_named(faces: list[np.ndarray], change: Callable, kind: str) -> None:
    """A copy of every tenth face, among all of them: at least seven of eight are found, and nothing else."""
    copied = range(0, len(faces), 10)
    found = pairs_of([*faces, *(change(faces[number]) for number in copied)])
    expected = {(number, len(faces) + place) for place, number in enumerate(copied)}
    assert {(pair.a, pair.b) for pair in found} <= expected
    assert len(found) >= len(expected) - 1
    assert {pair.kind for pair in found} == {kind}
    assert all(ALIKE <= pair.similarity <= 1 for pair in found)


def test_the_same_file_is_exact(faces: list[np.ndarray]) -> None:
    small = np.stack([thumbnail(face) for face in [*faces[:3], faces[0]]])
    (pair,) = find(small, ["one", "two", "three", "one"])
    assert (pair.a, pair.b, pair.kind, pair.similarity) == (0, 3, "exact", 1.0)


def test_many_copies_of_one_picture_are_few_pairs(faces: list[np.ndarray]) -> None:
    copies = [saved(faces[0], quality) for quality in range(40, 95)]
    found = pairs_of([*copies, *faces[1:]])
    assert len(found) == len(copies) - 1
    files = np.stack([thumbnail(faces[0])] * 500)
    assert len(find(files, ["same"] * 500)) == 499


def test_pictures_without_contrast_are_compared_as_files_alone() -> None:
    small = np.full((300, 64, 64), 40, np.uint8)
    assert find(small, [str(i) for i in range(300)]) == []
    assert len(find(small, ["black"] * 300)) == 299


def test_none_and_one(faces: list[np.ndarray]) -> None:
    assert find(np.zeros((0, 64, 64), np.uint8), []) == []
    assert pairs_of(faces[:1]) == []


def test_each_picture_has_a_bounded_number_of_candidates(faces: list[np.ndarray]) -> None:
    """That is what keeps the search from comparing every picture with every other."""
    small = np.stack([thumbnail(saved(face, quality)) for face in faces for quality in (50, 60, 70, 80)])
    assert len(search(small).whole) <= NEIGHBOURS * len(small) < len(small) ** 2 / 10
