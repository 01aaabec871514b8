"""`model=rich` weighs how often each small pattern of noise occurs."""

import keras
import numpy as np
import pytest

from deepfake.config import compose
from deepfake.models import network
from deepfake.models.rich import _orbits


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return network.build(compose(["model=rich"]).model, 48)


def picture(size: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(100, 106, (size, size, 3), dtype=np.uint8)


def mean_evidence(model: keras.Model, image: np.ndarray) -> np.ndarray:
    return keras.Model(model.input, model.get_layer("avg_pool").output)(image[None].astype(np.float32)).numpy()[0]


def test_evidence_is_the_mean_weight_of_what_is_found(model: keras.Model) -> None:
    """Here of five first differences of luma in a column, at every second place in the middle of the picture."""
    luma = picture() @ np.array([77 / 256, 150 / 256, 29 / 256])
    differences = np.diff(luma, axis=0)
    levels = np.where(np.abs(differences) <= 0.5, 1, np.where(differences > 0, 2, 0))
    windows = np.lib.stride_tricks.sliding_window_view(levels, 5, axis=0)[4:38:2, 6:40:2]
    found = _orbits(3, 5)[windows @ 3 ** np.arange(5)]
    weights = model.get_layer("weight_1_3_down").get_weights()[0][:, 0]
    assert found.shape == model.get_layer("evidence").output.shape[1:3]
    assert len(np.unique(found)) > 30
    assert mean_evidence(model, picture())[0] == pytest.approx(weights[found].mean(), abs=1e-7)


@pytest.mark.parametrize(("levels", "length", "different"), [(3, 5, 70), (5, 4, 169)])
def test_a_pattern_is_like_its_negative_and_its_reverse(levels: int, length: int, different: int) -> None:
    orbits = _orbits(levels, length)
    digits = levels ** np.arange(length)
    pattern = np.arange(length) * 2 % levels
    alike = [pattern, pattern[::-1], levels - 1 - pattern, levels - 1 - pattern[::-1]]
    assert len({orbits[one @ digits] for one in alike}) == 1
    assert len(np.unique(orbits)) == orbits.max() + 1 == different


def test_light_and_colour_as_such_say_nothing(model: keras.Model) -> None:
    brighter = mean_evidence(model, picture() + 40)
    np.testing.assert_allclose(brighter, mean_evidence(model, picture()), atol=1e-7)


def test_luma_is_compared_along_rows_columns_and_both_diagonals(model: keras.Model) -> None:
    differences = keras.Model(model.input, model.get_layer("differences_1").output)
    down, right = np.mgrid[:48, :48]
    found = []
    for wave in (right, down, right - down, right + down):  # the same along columns, rows, and either diagonal
        image = np.repeat(100 + 50 * np.sin(wave)[..., None], 3, axis=-1)
        found.append(np.flatnonzero(np.abs(differences(image[None])).max(axis=(0, 1, 2))[:12] < 0.01))
    assert [len(still) for still in found] == [3, 3, 3, 3]
    assert sorted(np.concatenate(found)) == list(range(12))


def test_only_the_weights_of_patterns_are_learnt(model: keras.Model) -> None:
    learnt = {weight.path.split("/")[0] for weight in model.trainable_weights}
    assert learnt == {name for name in (layer.name for layer in model.layers) if name.startswith("weight_")} | {"logit"}
    patterns = 24 * 2 * 2 * (70 + 169)  # differences, windows, scales
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == patterns + 192 + 1


def test_residuals_of_a_front_end_are_searched_beside_the_picture() -> None:
    settings = compose(["model=rich", "model.front_end=npr", "model.beside_rgb=true"]).model
    assert network.build(settings, 48).get_layer("avg_pool").output.shape == (None, 384)
