"""What an affine map does to a picture."""

import cv2
import numpy as np
import pytest

from deepfake.augmentation.geometric import IDENTITY, matrices, warp
from deepfake.config import Augmentation, Op

SIZE = (48, 64)  # height, width


def always(low: float, high: float) -> Op:
    return Op(prob=1.0, range=[low, high])


def one_matrix(**operations) -> np.ndarray:
    return matrices(1, SIZE, Augmentation(name="test", **operations), np.random.default_rng(0))[0]


def move(matrix: np.ndarray, x: float, y: float) -> np.ndarray:
    return matrix @ [x, y, 1]


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (*SIZE, 3), np.uint8)


def test_nothing_drawn_is_the_identity_and_does_not_touch_a_pixel(picture):
    never = Op(prob=0.0, range=[2, 2])
    drawn = matrices(5, SIZE, Augmentation(name="test", zoom=never), np.random.default_rng(0))
    assert drawn.shape == (5, 2, 3)
    assert np.array_equal(drawn, [IDENTITY] * 5)
    assert np.array_equal(warp(picture, drawn[0], "reflect"), picture)


def test_a_flip_is_an_exact_mirror_and_two_flips_are_the_picture(picture):
    flip = one_matrix(flip=1.0)
    mirrored = warp(picture, flip, "reflect")
    assert np.array_equal(mirrored, picture[:, ::-1])
    assert np.array_equal(warp(mirrored, flip, "reflect"), picture)


def test_rotating_by_90_degrees_turns_the_top_right_corner_to_the_top_left():
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[0, 63] = 255
    quarter = matrices(1, (64, 64), Augmentation(name="test", rotation=always(90, 90)), np.random.default_rng(0))[0]
    turned = warp(picture, quarter, "black")
    assert turned[0, 0].min() >= 250
    assert turned.sum() <= 3 * 255


def test_a_shift_is_a_share_of_the_side_drawn_for_x_and_y_apart():
    assert move(one_matrix(shift=always(0.25, 0.25)), 0, 0) == pytest.approx([16, 12])
    across, down = move(one_matrix(shift=always(-0.5, 0.5)), 0, 0) / [64, 48]
    assert across != pytest.approx(down)


def test_zooming_in_and_shearing_leave_the_centre_where_it_is():
    centre = [31.5, 23.5]
    zoom, shear = one_matrix(zoom=always(2, 2)), one_matrix(shear=always(45, 45))
    assert move(zoom, 31.5, 23.5) == pytest.approx(centre)
    assert move(zoom, 32.5, 24.5) == pytest.approx([33.5, 25.5])
    assert move(shear, 31.5, 23.5) == pytest.approx(centre)
    assert move(shear, 31.5, 33.5) == pytest.approx([41.5, 33.5])


def test_one_matrix_moves_a_point_as_the_operations_do_one_after_another():
    operations = {
        "flip": 1.0,
        "zoom": always(1.3, 1.3),
        "shear": always(15, 15),
        "rotation": always(30, 30),
        "shift": always(0.1, 0.1),
    }
    point = np.array([10.0, 40.0])
    for name, op in operations.items():
        point = move(one_matrix(**{name: op}), *point)
    assert move(one_matrix(**operations), 10, 40) == pytest.approx(point)


def test_a_spot_in_the_picture_lands_where_the_matrix_says():
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[20:23, 40:43] = 255
    matrix = one_matrix(rotation=always(25, 25), shear=always(8, 8), zoom=always(1.2, 1.2), shift=always(0.05, 0.05))
    moments = cv2.moments(warp(picture, matrix, "black")[:, :, 0])
    landed = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
    assert landed == pytest.approx(move(matrix, 41, 21), abs=0.1)


@pytest.mark.parametrize(
    ("border", "uncovered"), [("reflect", [40, 30, 20]), ("edge", [10, 10, 10]), ("black", [0] * 3)]
)
def test_the_border_fills_what_a_shift_uncovers(border, uncovered):
    picture = np.zeros((1, 8, 3), np.uint8)
    picture[0, :, :] = np.arange(10, 90, 10)[:, None]
    three_right = np.array([[1.0, 0, 3], [0, 1, 0]])
    assert warp(picture, three_right, border)[0, :3, 0].tolist() == uncovered


def test_strengths_stay_in_their_range_and_come_as_often_as_asked():
    settings = Augmentation(name="test", zoom=Op(prob=0.25, range=[1.5, 2.0]), flip=0.5)
    drawn = matrices(4000, SIZE, settings, np.random.default_rng(0))
    zooms, mirrored = drawn[:, 1, 1], drawn[:, 0, 0] < 0
    zoomed = zooms != 1
    assert zoomed.mean() == pytest.approx(0.25, abs=0.03)
    assert 1.5 <= zooms[zoomed].min() < 1.51 and 1.99 < zooms[zoomed].max() <= 2
    assert mirrored.mean() == pytest.approx(0.5, abs=0.03)
