"""`model=rich` weighs how often each small pattern of noise occurs."""

import keras
import numpy as np
import pytest

from deepfake.config import compose
from deepfake.models import network, rich

LUMA = np.array([77 / 256, 150 / 256, 29 / 256])


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return network.build(compose(["model=rich"]).model, 48)


def picture(size: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(100, 106, (size, size, 3), dtype=np.uint8)


def mean_evidence(model: keras.Model, image: np.ndarray) -> np.ndarray:
    return keras.Model(model.input, model.get_layer("avg_pool").output)(image[None].astype(np.float32)).numpy()[0]


def first_differences(image: np.ndarray) -> np.ndarray:
    """Those along columns, rounded to five levels."""
    differences = np.diff(image, axis=0)
    sizes = np.abs(differences)
    return 2 + np.sign(differences).astype(int) * ((sizes > 0.5) * 1 + (sizes > 1.5))


@pytest.mark.parametrize(("feature", "row", "column"), [(0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 1, 1)])
def test_evidence_is_the_mean_weight_of_what_is_found(model: keras.Model, feature: int, row: int, column: int) -> None:
    """Here of four first differences of luma in a column, at every second place in the middle of the picture."""
    windows = np.lib.stride_tricks.sliding_window_view(first_differences(picture() @ LUMA), 4, axis=0)
    found = 625 * feature + windows[2 + row : 39 + row : 2, 4 + column : 41 + column : 2] @ 5 ** np.arange(4)
    weights = model.get_layer("weight_luma_1_down").get_weights()[0][:, 0]
    assert found.shape == model.get_layer("evidence").output.shape[1:3]
    assert len(np.unique(found)) > 100
    assert mean_evidence(model, picture())[feature] == pytest.approx(weights[found].mean(), abs=1e-7)


@pytest.mark.parametrize(("feature", "colour"), [(192, (1, -1, 0)), (196, (0, 1, -1))])
def test_colours_are_looked_at_in_half_the_size(model: keras.Model, feature: int, colour: tuple[int, ...]) -> None:
    half = picture().reshape(24, 2, 24, 2, 3).mean(axis=(1, 3))
    windows = np.lib.stride_tricks.sliding_window_view(first_differences(half @ colour), 4, axis=0)
    found = 625 * (feature - 192) + windows[:19, 1:20] @ 5 ** np.arange(4)
    weights = model.get_layer("weight_colour_1_down").get_weights()[0][:, 0]
    assert len(np.unique(found)) > 100
    assert mean_evidence(model, picture())[feature] == pytest.approx(weights[found].mean(), abs=1e-7)


def test_a_pattern_is_like_its_negative_and_its_reverse(model: keras.Model) -> None:
    for kind in rich.kinds(model):
        digits = 5 ** np.arange(4)
        pattern = np.array([0, 2, 4, 1])
        alike = [pattern, pattern[::-1], 4 - pattern, 4 - pattern[::-1]]
        assert len({kind.alike[one @ digits] for one in alike}) == 1
        assert len(np.unique(kind.alike)) == kind.alike.max() + 1 == 169


def test_light_and_colour_as_such_say_nothing(model: keras.Model) -> None:
    brighter = mean_evidence(model, picture() + 40)
    np.testing.assert_allclose(brighter, mean_evidence(model, picture()), atol=1e-7)


def test_luma_is_compared_along_rows_columns_and_both_diagonals(model: keras.Model) -> None:
    differences = keras.Model(model.input, model.get_layer("differences_luma").output)
    down, right = np.mgrid[:48, :48]
    found = []
    for wave in (right, down, right - down, right + down):  # the same along columns, rows, and either diagonal
        image = np.repeat(100 + 50 * np.sin(wave)[..., None], 3, axis=-1)
        found.append(np.flatnonzero(np.abs(differences(image[None])).max(axis=(0, 1, 2)) < 0.01))
    assert [len(still) for still in found] == [2, 2, 2, 2]
    assert sorted(np.concatenate(found)) == list(range(8))


def test_only_the_weights_of_patterns_are_learnt(model: keras.Model) -> None:
    learnt = {weight.path.split("/")[0] for weight in model.trainable_weights}
    assert learnt == {kind.weight for kind in rich.kinds(model)} | {"logit"}
    patterns = 3 * 2 * 4 * 8 * 625 + 2 * 8 * 625  # widths, axes, places to begin, differences; of colours
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == patterns + 208 + 1


def test_residuals_of_a_front_end_are_searched_beside_the_picture() -> None:
    settings = compose(["model=rich", "model.front_end=npr", "model.beside_rgb=true"]).model
    assert network.build(settings, 48).get_layer("avg_pool").output.shape == (None, 416)
