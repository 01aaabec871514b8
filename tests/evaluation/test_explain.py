"""Heat maps mark what a verdict rests on, for every model, and the check tells maps that do from maps that do not."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from deepfake import models
from deepfake.config import compose
from deepfake.data import Split
from deepfake.errors import ModelError
from deepfake.evaluation.explain import check, deletion, explainer, feature_layer, most_confident, overlay
from deepfake.models.scoring import scorer

SIZE = 32


def quadrant_net(scale: float = 1.0) -> keras.Model:
    """A net whose logit is the mean brightness of the upper left quarter of the picture, and of nothing else."""
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = layers.Rescaling(scale / 127.5, offset=-scale)(image)
    x = layers.Conv2D(1, 1, use_bias=False, kernel_initializer=keras.initializers.Constant(1 / 3), name="grey")(x)
    x = layers.Flatten()(x)
    logit = layers.Dense(1, name="logit")(x)
    model = keras.Model(image, layers.Activation("sigmoid", name="p_fake")(logit))
    kernel = np.zeros((SIZE, SIZE), np.float32)
    kernel[: SIZE // 2, : SIZE // 2] = 40 / SIZE**2
    model.get_layer("logit").set_weights([kernel.reshape(-1, 1), np.zeros(1, np.float32)])
    return model


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, SIZE, SIZE, 3), np.uint8)


@pytest.mark.parametrize("scale", [1, 100])
def test_the_map_lies_where_the_evidence_is(images: np.ndarray, scale: float) -> None:
    """Also where P(fake) is so near to 0 or 1 that its own gradient has vanished."""
    images[::2, :16, :16] = images[::2, :16, :16] // 2 + 128  # Fake: bright there
    images[1::2, :16, :16] //= 2
    model = quadrant_net(scale)
    fake = scorer(model)(images) >= 0.5
    assert fake.tolist() == [True, False] * 10
    maps = explainer(model)(images, fake)
    assert (maps.shape, maps.dtype) == ((20, SIZE, SIZE), np.float32)
    assert maps.max() == 1
    assert maps.min() == 0
    assert maps[:, :16, :16].sum() > 0.95 * maps.sum()


def test_a_map_is_empty_where_nothing_speaks_for_the_verdict() -> None:
    bright = np.full((2, SIZE, SIZE, 3), 255, np.uint8)
    maps = explainer(quadrant_net())(bright, np.array([True, False]))
    assert maps[0].max() == 1
    assert (maps[1] == 0).all()


def test_hiding_what_a_true_map_marks_costs_more_than_hiding_the_rest(images: np.ndarray) -> None:
    images[:, :16, :16] = images[:, :16, :16] // 2 + 128
    images[:, 16:] //= 4
    model = quadrant_net(3)
    logit = scorer(keras.Model(model.input, model.get_layer("logit").output))
    fake = np.ones(20, bool)
    noise = np.random.default_rng(1).random((20, SIZE, SIZE)).astype(np.float32)
    true, blind = (deletion(logit, images, maps, fake, seed=0) for maps in (explainer(model)(images, fake), noise))
    assert true.top > 2 * abs(true.random)
    assert true.share > 0.9
    assert abs(blind.top - blind.random) < 0.3 * true.top
    assert true.images == 20


@pytest.mark.parametrize("name", ["cnn", "cnn_bn", "meso4", "mobilenet_v3", "efficientnet_b0"])
def test_every_model_is_explained(images: np.ndarray, name: str) -> None:
    model = models.build(compose([f"model={name}"]).model, SIZE)
    assert len(feature_layer(model).output.shape) == 4
    explain = explainer(model)
    fake = scorer(model)(images) >= 0.5
    maps = explain(images, fake)
    assert maps.shape == (20, SIZE, SIZE)
    assert np.isfinite(maps).all()
    assert maps.max() == 1
    assert explain(images[:0], fake[:0]).shape == (0, SIZE, SIZE)
    np.testing.assert_allclose(explain(images[3:4], fake[3:4])[0], maps[3], atol=1e-3)


def test_a_model_read_back_from_its_file_is_explained_alike(images: np.ndarray, tmp_path: Path) -> None:
    model = models.build(compose(["model.filters=[4,8]", "model.dense=8"]).model, SIZE)
    model.save(tmp_path / "model.h5", include_optimizer=False)
    again = keras.models.load_model(tmp_path / "model.h5", compile=False)
    fake = np.ones(20, bool)
    np.testing.assert_allclose(explainer(again)(images, fake), explainer(model)(images, fake), atol=1e-5)


def test_a_model_without_a_logit_says_so() -> None:
    image = keras.Input((SIZE, SIZE, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(image))
    with pytest.raises(ModelError, match="no layer `logit`"):
        explainer(keras.Model(image, layers.Dense(1, activation="sigmoid")(x)))


def test_an_overlay_shows_the_picture_where_the_map_is_cold(images: np.ndarray) -> None:
    maps = np.zeros((20, SIZE, SIZE), np.float32)
    maps[:, :16] = 1
    laid = overlay(images, maps)
    assert (laid.shape, laid.dtype) == (images.shape, np.uint8)
    cold = laid[:, 16:].astype(int)
    assert (np.ptp(cold, axis=3) == 0).all()  # grey
    assert np.ptp(laid[:, :16].astype(int), axis=3).min() > 50


def test_the_check_takes_images_of_both_classes(images: np.ndarray) -> None:
    labels = np.arange(20) % 2
    names = [str(i) for i in range(20)]
    found = check(quadrant_net(), Split(images, labels, names, names), labels == 1, limit=4, seed=0)
    assert found.images == 8


def test_the_sheet_has_a_row_for_each_kind_of_verdict(images: np.ndarray) -> None:
    labels = np.arange(20) % 2
    scores = np.linspace(0.01, 0.99, 20)
    figure = most_confident(images, labels, scores, 0.5, explainer(quadrant_net()), ["Real", "Fake"])
    captions = [text.get_text() for text in figure.axes[0].texts]
    kinds = ("Real, right", "Fake, right", "Real, called Fake", "Fake, called Real")
    assert [sum(text.startswith(kind) for text in captions) for kind in kinds] == [5, 5, 5, 5]
    assert captions[0] == "Real, right\nP(fake) 0.01"
