"""Faces are found where they are, and crops show them as a model learnt them."""

import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from deepfake.data import faces
from deepfake.data.faces import Face, Framing
from deepfake.data.portraits import SIDE, Light, Person, Pose, draw_background, draw_portrait
from deepfake.data.synthetic import photograph

FRAMING = Framing(size=0.5, x=0.5, y=0.5, found=1)


def draw(number: int) -> tuple[np.ndarray, Pose]:
    rng = np.random.default_rng([5, number])
    person, pose = Person(rng), Pose(rng)
    photo = photograph(rng, draw_portrait(rng, person, pose, Light(rng)))
    return np.rint(np.clip(photo, 0, 1) * 255).astype(np.uint8), pose


@pytest.fixture(scope="module")
def drawn() -> list[tuple[np.ndarray, Pose]]:
    """Photographs of drawn people, as the data set that comes with the project has them: one face each."""
    return [draw(number) for number in range(24)]


@pytest.fixture(scope="module")
def portraits(drawn: list[tuple[np.ndarray, Pose]]) -> np.ndarray:
    return np.stack([portrait for portrait, _ in drawn])


@pytest.fixture(scope="module")
def framing(portraits: np.ndarray) -> Framing:
    measured = faces.measure(portraits)
    assert measured
    return measured


def scene(portrait: np.ndarray, x: int, y: int, side: int, extent: tuple[int, int] = (600, 800)) -> np.ndarray:
    """A wall with a portrait on it, its upper left corner at `x, y`."""
    wall = photograph(np.random.default_rng(1), draw_background(np.random.default_rng(2)))
    wall = cv2.resize(np.rint(np.clip(wall, 0, 1) * 255).astype(np.uint8), extent[::-1])
    wall[y : y + side, x : x + side] = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_CUBIC)
    return wall


def tight(portrait: np.ndarray, pose: Pose) -> np.ndarray:
    """The face from brows to mouth and nothing around it."""
    x, y, half = round(pose.x * SIDE), round(pose.y * SIDE) + 3, round(0.68 * pose.scale * SIDE)
    return portrait[y - half : y + half, x - half : x + half]


def test_the_face_of_a_portrait_is_found_once(portraits: np.ndarray) -> None:
    found = [faces.find(portrait) for portrait in portraits]
    assert sum(len(each) == 1 for each in found) >= 0.8 * len(portraits)
    assert all(len(each) <= 1 for each in found)


def test_a_face_is_found_where_it_was_drawn(drawn: list[tuple[np.ndarray, Pose]]) -> None:
    found = [(face, pose) for portrait, pose in drawn for face in faces.find(portrait)]
    off = np.array([(face.x / SIDE - pose.x, face.y / SIDE - pose.y) for face, pose in found])
    assert np.abs(off).max() < 0.06
    assert np.abs(np.median(off, axis=0)).max() < 0.02
    sizes = [face.size / (pose.scale * SIDE) for face, pose in found]  # in half heads
    assert np.median(sizes) == pytest.approx(1.5, abs=0.1)
    assert np.ptp(sizes) < 0.5


def test_a_face_that_fills_the_picture_is_found(drawn: list[tuple[np.ndarray, Pose]]) -> None:
    found = [faces.find(tight(portrait, pose)) for portrait, pose in drawn]
    assert sum(map(bool, found)) >= 0.75 * len(drawn)


@pytest.mark.parametrize("side", [200, 300, 560])
def test_a_face_is_found_small_and_large_in_a_scene(portraits: np.ndarray, framing: Framing, side: int) -> None:
    pictures = [scene(portrait, 150, 30, side) for portrait in portraits[:10]]
    found = [faces.find(picture) for picture in pictures]
    assert sum(map(bool, found)) >= 8
    for face in (each[0] for each in found if each):
        assert abs(face.x - 150 - framing.x * side) < 0.1 * side
        assert abs(face.y - 30 - framing.y * side) < 0.1 * side
        assert face.size == pytest.approx(framing.size * side, rel=0.35)


def test_of_two_faces_the_larger_is_the_first(portraits: np.ndarray) -> None:
    picture = scene(portraits[2], 5, 50, 350, (450, 800))
    picture[5:445, 358:798] = cv2.resize(portraits[2], (440, 440), interpolation=cv2.INTER_CUBIC)
    large, small = faces.find(picture)
    assert large.x > 358 > small.x
    assert large.size == pytest.approx(small.size * 440 / 350, rel=0.1)


@pytest.mark.parametrize("number", range(6))
def test_no_face_is_seen_in_a_wall_or_in_noise(number: int) -> None:
    rng = np.random.default_rng(number)
    wall = np.rint(np.clip(photograph(rng, draw_background(rng)), 0, 1) * 255).astype(np.uint8)
    assert faces.find(wall) == []
    assert faces.find(rng.integers(0, 256, (300, 200, 3), dtype=np.uint8)) == []


@pytest.mark.parametrize("seed", [36, 51, 61, 65, 81, 141, 196])
def test_what_only_one_cascade_takes_for_a_face_is_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layers = [rng.standard_normal((cells, cells), np.float32) for cells in (8, 16, 32, 64)]
    clouds = sum(cv2.resize(layer, (400, 400), interpolation=cv2.INTER_CUBIC) for layer in layers)
    picture = np.repeat(np.clip(128 + 35 * clouds, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    alone = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")
    assert len(alone.detectMultiScale(picture, 1.1, 2))
    assert faces.find(picture) == []


def test_no_face_is_seen_in_a_part_of_one(portraits: np.ndarray) -> None:
    assert [faces.find(portrait[SIDE * 6 // 10 :]) for portrait in portraits] == [[]] * len(portraits)


@pytest.mark.parametrize("extent", [(1, 1), (1, 900), (900, 1), (3, 5), (30, 2000)])
def test_a_picture_of_any_extent_is_searched(extent: tuple[int, int]) -> None:
    assert faces.find(np.full((*extent, 3), 128, np.uint8)) == []


def test_threads_find_what_one_alone_finds(portraits: np.ndarray) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(faces.find, portraits)) == [faces.find(portrait) for portrait in portraits]


def test_a_large_photograph_is_searched_in_no_time(portraits: np.ndarray) -> None:
    picture = scene(portraits[0], 1500, 1000, 1500, (3000, 4000))
    assert faces.find(picture)
    start = time.process_time()
    faces.find(picture)
    assert time.process_time() - start < 1  # 15 ms where nothing else computes


def test_framing_says_where_faces_lie(portraits: np.ndarray, framing: Framing) -> None:
    boxes = [(face.size, face.x, face.y) for portrait in portraits for face in faces.find(portrait)]
    assert (framing.size, framing.x, framing.y) == pytest.approx(np.median(boxes, axis=0) / SIDE)
    assert framing.found == len(boxes) / len(portraits)


def test_framing_is_the_same_at_another_image_size(portraits: np.ndarray, framing: Framing) -> None:
    other = faces.measure(np.stack([cv2.resize(portrait, (64, 64)) for portrait in portraits]))
    assert other
    assert (other.size, other.x, other.y) == pytest.approx((framing.size, framing.x, framing.y), abs=0.03)


def test_framing_looks_at_images_from_first_to_last(portraits: np.ndarray) -> None:
    wall = np.zeros_like(portraits[0])
    alternating = np.stack([image for portrait in portraits[:5] for image in (portrait, wall)])
    assert faces.measure(alternating, limit=2) == faces.measure(alternating[[0, -1]])


def test_there_is_no_framing_where_few_faces_are_found(portraits: np.ndarray) -> None:
    walls = np.zeros((60, SIDE, SIDE, 3), np.uint8)
    assert faces.measure(np.concatenate([walls, portraits])) is None
    assert faces.measure(walls[:0]) is None


def test_a_crop_shows_the_face_as_in_training(portraits: np.ndarray, framing: Framing) -> None:
    for portrait in portraits[:10]:
        picture = scene(portrait, 40, 150, 400)
        for face in faces.find(picture):
            cut = faces.crop(picture, face, framing)
            assert cut.shape[0] == cut.shape[1] == round(face.size / framing.size)
            again = faces.find(cut)[0]
            assert (again.size, again.x, again.y) == pytest.approx(
                np.array((framing.size, framing.x, framing.y)) * len(cut), abs=0.06 * len(cut)
            )


def test_a_crop_inside_the_picture_is_its_pixels() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    cut = faces.crop(picture, Face(x=60, y=50, size=20), Framing(size=0.5, x=0.5, y=0.25, found=1))
    assert np.array_equal(cut, picture[40:80, 40:80])


def test_a_crop_beyond_the_picture_goes_on_as_a_mirror_image() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    cut = faces.crop(picture, Face(x=110, y=5, size=20), FRAMING)
    assert np.array_equal(cut, np.pad(picture, ((15, 0), (0, 10), (0, 0)), "reflect")[:40, 90:130])


@pytest.mark.parametrize("face", [Face(0, 0, 30), Face(30, 20, 500), Face(-40, -40, 4), Face(5, 5, 0.1)])
def test_a_crop_is_a_square_wherever_the_face_is(face: Face) -> None:
    cut = faces.crop(np.zeros((20, 30, 3), np.uint8), face, FRAMING)
    assert cut.shape[0] == cut.shape[1] <= 90


def test_a_picture_is_shown_closer_only_where_that_helps(portraits: np.ndarray, framing: Framing) -> None:
    portrait = next(each for each in portraits if faces.find(each))
    assert faces.closer(portrait, framing) is portrait
    picture = scene(portrait, 150, 30, 300)
    assert np.array_equal(faces.closer(picture, framing), faces.crop(picture, faces.find(picture)[0], framing))
    assert faces.closer(np.zeros_like(picture), framing) is None


def test_a_crop_is_offered_for_scenes_and_not_for_portraits(portraits: np.ndarray, framing: Framing) -> None:
    close = [faces.is_close(face, portrait, framing) for portrait in portraits for face in faces.find(portrait)]
    assert all(close)
    pictures = [scene(portrait, 150, 30, 350) for portrait in portraits[:10]]
    assert not any(faces.is_close(face, picture, framing) for picture in pictures for face in faces.find(picture))


@pytest.mark.parametrize(
    ("face", "close"),
    [
        (Face(50, 50, 50), True),
        (Face(50, 50, 90), True),  # larger than in training: no crop can mend that
        (Face(50, 50, 30), False),
        (Face(60, 45, 50), True),
        (Face(90, 50, 50), False),
    ],
)
def test_close_is_large_and_central(face: Face, close: bool) -> None:
    assert faces.is_close(face, np.zeros((100, 100, 3), np.uint8), FRAMING) is close


def test_a_wide_picture_is_not_close_though_the_face_is_as_high_as_in_training() -> None:
    assert not faces.is_close(Face(100, 50, 50), np.zeros((100, 200, 3), np.uint8), FRAMING)
