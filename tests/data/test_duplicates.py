"""Copies among a data set's images: what was done to them, that they are found, and that nothing else is."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepfake.data.duplicates import ALIKE, NEIGHBOURS, SIDE, Candidates, Pair, align, find, search, thumbnail
from deepfake.data.synthetic import draw_pair

COPIED = 24  # of the portraits


@pytest.fixture(scope="module")
def portraits() -> list[np.ndarray]:
    """Drawn photographs of different people, RGB, 96 x 96."""
    return [decode(draw_pair(0, number)[0]) for number in range(60)]


def decode(content: bytes | np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(content, "u1"), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def saved(picture: np.ndarray, quality: int = 80) -> np.ndarray:
    """What a JPEG file of the picture shows."""
    bgr = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR)
    return decode(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def scaled(picture: np.ndarray, factor: float) -> np.ndarray:
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=how)


def brighter(picture: np.ndarray, contrast: float, brightness: float) -> np.ndarray:
    return np.clip(picture * contrast + brightness, 0, 255).astype("u1")


def cropped(picture: np.ndarray, width: float, height: float) -> np.ndarray:
    """Cut out a part of these shares of the sides, somewhere that depends on the picture."""
    rng = np.random.default_rng(int(picture[0].sum()))
    rows, columns = picture.shape[:2]
    tall, wide = round(rows * height), round(columns * width)
    top, left = rng.integers(0, rows - tall + 1), rng.integers(0, columns - wide + 1)
    return picture[top : top + tall, left : left + wide]


def copies_among(pictures: list[np.ndarray]) -> list[Pair]:
    digests = [hashlib.sha256(picture.tobytes()).hexdigest() for picture in pictures]
    return find(np.array([thumbnail(picture) for picture in pictures]).reshape(-1, SIDE, SIDE), digests)


@pytest.mark.parametrize(
    ("kind", "alter"),
    [
        pytest.param("exact", lambda picture: picture, id="the same file"),
        pytest.param("near", lambda picture: saved(picture, 50), id="JPEG 50"),
        pytest.param("near", lambda picture: saved(picture, 95), id="JPEG 95"),
        pytest.param("near", lambda picture: saved(scaled(scaled(picture, 0.5), 2)), id="half the size and back"),
        pytest.param("near", lambda picture: saved(scaled(picture, 3)), id="three times as large"),
        pytest.param("near", lambda picture: saved(brighter(picture, 1.0, 10)), id="brighter"),
        pytest.param("near", lambda picture: saved(brighter(picture, 0.8, 20)), id="less contrast"),
        pytest.param("mirrored", lambda picture: saved(picture[:, ::-1], 60), id="mirrored"),
        pytest.param("crop", lambda picture: saved(cropped(picture, 0.95, 0.95)), id="95 % of the sides"),
        pytest.param("crop", lambda picture: saved(cropped(picture, 0.85, 0.85)), id="85 %"),
        pytest.param("crop", lambda picture: saved(scaled(cropped(picture, 0.75, 0.75), 2)), id="75 %, enlarged"),
        pytest.param("crop", lambda picture: saved(cropped(picture, 0.95, 0.82)), id="another shape"),
        pytest.param("crop", lambda picture: saved(cropped(picture, 0.85, 0.85)[:, ::-1]), id="85 %, mirrored"),
    ],
)
def test_a_copy_is_found_and_told_what_was_done_to_it(
    portraits: list[np.ndarray], kind: str, alter: Callable[[np.ndarray], np.ndarray]
) -> None:
    copies = [alter(picture) for picture in portraits[:COPIED]]

    found = copies_among(portraits + copies)

    assert {(pair.a, pair.b) for pair in found} == {(n, len(portraits) + n) for n in range(COPIED)}
    assert {pair.kind for pair in found} == {kind}
    assert all(ALIKE <= pair.similarity <= 1 for pair in found)


def test_two_crops_of_one_picture_are_copies_of_each_other(portraits: list[np.ndarray]) -> None:
    lefts = [saved(picture[:, :92]) for picture in portraits[:COPIED]]
    rights = [saved(picture[:, 4:]) for picture in portraits[:COPIED]]

    found = copies_among(lefts + rights + portraits[COPIED:])

    assert {(pair.a, pair.b, pair.kind) for pair in found} == {(n, COPIED + n, "crop") for n in range(COPIED)}


def test_different_people_are_no_copies(portraits: list[np.ndarray]) -> None:
    assert copies_among(portraits) == []


def test_the_same_texture_elsewhere_is_no_copy() -> None:
    """Smooth noise of one spectrum: pictures that have nothing but their kind in common."""
    rng = np.random.default_rng(0)
    blurred = [cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE)), None, 2 + n % 5) for n in range(200)]
    pictures = np.array([np.clip(128 + 50 * noise / noise.std(), 0, 255) for noise in blurred]).astype("u1")

    assert find(pictures, [str(n) for n in range(200)]) == []


def test_a_search_leads_to_the_place_of_a_crop(portraits: list[np.ndarray]) -> None:
    crop = portraits[0][8:88, 4:90]  # rows, columns
    pictures = np.array([thumbnail(picture) for picture in [*portraits[:20], crop]])

    candidates, similarity = align(pictures, search(pictures))

    right = (candidates.whole == 20) & (candidates.part == 0) & ~candidates.mirrored
    assert right.sum() == 1
    np.testing.assert_allclose(candidates.place[right][0] * 96, [4, 8, 86, 80], atol=0.5)
    assert similarity[right] > ALIKE


def test_the_similarity_is_the_correlation_of_frequencies(portraits: list[np.ndarray]) -> None:
    """Compared with a cosine transform: the 16 lowest frequencies, each weighted as pictures have less of it."""
    rng = np.random.default_rng(0)
    picture = thumbnail(portraits[0])
    noisy = np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype("u1")
    # The search's waves are averaged over each pixel, which makes them flatter than they are at its middle.
    weight = np.hypot(*np.mgrid[:16, :16]) * np.multiply.outer(*[np.sinc(np.arange(16) / (2 * SIDE))] * 2)
    a, b = ((cv2.dct(thumb.astype("f4"))[:16, :16] * weight).ravel() for thumb in (picture, noisy))

    maybe_all_of_it = Candidates(np.array([0]), np.array([1]), np.array([False]), np.array([[0, 0, 1, 1]], "f4"))
    _, similarity = align(np.array([picture, noisy]), maybe_all_of_it)

    assert similarity[0] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-3)
    assert similarity[0] < ALIKE  # so this is about more than 1 == 1


def test_brightness_and_contrast_do_not_count(portraits: list[np.ndarray]) -> None:
    darker = [brighter(picture, 0.4, 30) for picture in portraits[:COPIED]]

    assert [pair.similarity for pair in copies_among(portraits + darker)] == pytest.approx([1.0] * COPIED, abs=2e-3)


def test_copies_of_one_picture_are_joined_by_as_few_pairs_as_it_takes(portraits: list[np.ndarray]) -> None:
    copies = [saved(portraits[0], quality) for quality in range(40, 96)]
    mirrored = [saved(portraits[0][:, ::-1], quality) for quality in range(50, 96, 5)]
    same = [portraits[0]] * 30
    family = [*copies, *mirrored, *same]

    found = copies_among(family + portraits[1:])

    assert len(found) == len(family) - 1
    assert joined(found, 0) == set(range(len(family)))
    assert [pair.kind for pair in found].count("exact") == len(same) - 1
    assert [pair.similarity for pair in found] == sorted((pair.similarity for pair in found), reverse=True)


def test_flat_pictures_are_copies_only_where_the_file_is_the_same() -> None:
    rng = np.random.default_rng(0)
    black = np.zeros((300, SIDE, SIDE), "u1")
    grey = rng.integers(127, 130, (300, SIDE, SIDE)).astype("u1")

    found = find(np.concatenate([black, grey]), ["black"] * 300 + [f"grey {n}" for n in range(300)])

    assert found == [Pair(0, n, "exact", 1.0) for n in range(1, 300)]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_pictures(portraits: list[np.ndarray], count: int) -> None:
    assert copies_among(portraits[:count]) == []


def test_two_files_of_one_picture_are_enough(portraits: list[np.ndarray]) -> None:
    assert [(pair.a, pair.b, pair.kind) for pair in copies_among([portraits[0], saved(portraits[0])])] == [
        (0, 1, "near")
    ]


def test_thumbnails_may_lie_on_the_disk(portraits: list[np.ndarray], tmp_path: Path) -> None:
    pictures = np.array([thumbnail(picture) for picture in [*portraits[:20], saved(portraits[3])]])
    np.save(tmp_path / "thumbnails.npy", pictures)
    digests = [str(n) for n in range(21)]

    found = find(np.load(tmp_path / "thumbnails.npy", mmap_mode="r"), digests)

    assert found == find(pictures, digests)
    assert [(pair.a, pair.b) for pair in found] == [(3, 20)]


@pytest.mark.parametrize("count", [40, 240])
def test_few_pairs_are_looked_at_closely_however_many_there_are(portraits: list[np.ndarray], count: int) -> None:
    """Neither many different pictures nor many copies make more than `NEIGHBOURS` pairs for each."""
    rng = np.random.default_rng(0)
    blurred = [cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE)), None, 3) for _ in range(count)]
    different = [np.clip(128 + 50 * noise / noise.std(), 0, 255) for noise in blurred]
    copies = [np.clip(thumbnail(portraits[0]) + rng.normal(0, 2, (SIDE, SIDE)), 0, 255) for _ in range(count)]

    candidates = search(np.array(different + copies).astype("u1"))

    assert np.bincount(candidates.whole).max() == NEIGHBOURS
    assert not (candidates.whole == candidates.part).any()


def test_none_of_many_copies_is_left_out(portraits: list[np.ndarray]) -> None:
    """They are many more than are looked at closely for each."""
    rng = np.random.default_rng(0)
    copies = thumbnail(portraits[0]) + rng.normal(0, 2, (300, SIDE, SIDE))

    found = find(np.clip(copies, 0, 255).astype("u1"), [str(n) for n in range(300)])

    assert len(found) == 299


@pytest.mark.parametrize("shape", [(64, 64), (256, 256), (96, 150), (640, 128)])
def test_a_thumbnail_is_the_whole_picture_averaged(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype("u1")
    grey = pixels @ [0.299, 0.587, 0.114]
    down, across = (np.repeat(np.eye(side), SIDE, axis=0).reshape(SIDE, side, side).mean(1) for side in shape)

    small = thumbnail(pixels)

    assert small.dtype == np.uint8
    np.testing.assert_allclose(small, down @ grey @ across.T, atol=1.1)


def joined(pairs: list[Pair], start: int) -> set[int]:
    """Return all that pairs lead to from a picture."""
    reached, ahead = set(), {start}
    while ahead:
        reached |= ahead
        ahead = {end for pair in pairs for end in (pair.a, pair.b) if {pair.a, pair.b} & reached} - reached
    return reached
