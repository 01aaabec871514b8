"""`model=dct` weighs how strong each frequency is at each place of JPEG's grid."""

import cv2
import keras
import numpy as np
import pytest

from deepfake.config import compose
from deepfake.models import dct, network

LUMA = np.array([77 / 256, 150 / 256, 29 / 256])


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return network.build(compose(["model=dct"]).model, 30)


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(100, 130, (30, 30, 3), dtype=np.uint8)


def evidence(model: keras.Model, image: np.ndarray) -> np.ndarray:
    return keras.Model(model.input, model.get_layer("evidence").output)(image[None].astype(np.float32)).numpy()[0]


@pytest.mark.parametrize(("border", "row", "column"), [(1, 0, 0), (3, 0, 1), (7, 1, 0), (14, 1, 1)])
def test_evidence_is_the_weight_of_each_coefficient_that_is_past_the_border(
    model: keras.Model, border: int, row: int, column: int
) -> None:
    """Here of all frequencies in one block at each of the 64 places of the grid, as OpenCV transforms them."""
    luma, expected = (picture() @ LUMA).astype(np.float32), np.zeros(64)
    weights = model.get_layer(f"weight_past_{border}").get_weights()[0][..., 0]
    for down, right in np.ndindex(8, 8):
        top, left = 8 * row + down, 8 * column + right
        past = np.abs(cv2.dct(luma[top : top + 8, left : left + 8]).ravel()) > border
        expected[past] += np.concatenate([[0], weights[down, right]])[past]
    first = 63 * (1, 3, 7, 14).index(border)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(evidence(model, picture())[row, column, first : first + 63], expected[1:], atol=1e-5)


def test_light_and_colour_as_such_say_nothing(model: keras.Model) -> None:
    np.testing.assert_array_equal(evidence(model, picture() + 40), evidence(model, picture()))


def test_what_was_compressed_at_another_place_is_told_apart(model: keras.Model) -> None:
    """The first block of the grid has the fewest strong coefficients, also where the picture was moved afterwards."""
    soft = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), (0, 0), 2)
    past = keras.Model(model.input, [kind.found for kind in dct.kinds(model)])

    def strong(corner: int) -> np.ndarray:
        """How many coefficients are past the first border at each place of the grid."""
        compressed = cv2.imdecode(cv2.imencode(".jpg", soft, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)
        image = compressed[corner : corner + 30, corner : corner + 30, ::-1]
        return past(image[None].astype(np.float32))[0].numpy()[0, :16, :16].reshape(2, 8, 2, 8, 63).sum(axis=(0, 2, 4))

    assert np.unravel_index(strong(0).argmin(), (8, 8)) == (0, 0)
    assert np.unravel_index(strong(4).argmin(), (8, 8)) == (4, 4)


def test_only_the_weights_of_coefficients_are_learnt(model: keras.Model) -> None:
    learnt = {weight.path.split("/")[0] for weight in model.trainable_weights}
    assert learnt == {kind.weight for kind in dct.kinds(model)} | {"logit"}
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 4 * 64 * 63 + 4 * 63 + 1


def test_residuals_of_a_front_end_are_transformed_beside_the_picture() -> None:
    settings = compose(["model=dct", "model.front_end=npr", "model.beside_rgb=true"]).model
    both = network.build(settings, 30)
    assert both.get_layer("avg_pool").output.shape == (None, 2 * 4 * 63)
    kernels = both.get_layer("coefficients").get_weights()[0]
    assert (kernels[..., 0, :63] == kernels[..., 1, 63:]).all()
    assert not kernels[..., 0, 63:].any()
