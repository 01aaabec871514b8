"""An ensemble's logit is the mean of its members' calibrated logits, in one network of stock layers."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from deepfake.config import compose
from deepfake.data.images import square
from deepfake.detector import MODEL_FILE, Card, Detector, write
from deepfake.evaluation.heatmap import examiner, explainer
from deepfake.models import network
from deepfake.models.ensemble import average
from deepfake.models.scoring import scorer

SIZE = 32
TEMPERATURES = [0.5, 1.0, 4.0]


def build(name: str, size: int = SIZE, seed: int = 0) -> keras.Model:
    """A network whose weights and moving averages are all drawn at random, but for what is fixed."""
    keras.utils.set_random_seed(seed)
    model = network.build(compose([f"model={name}"]).model, size)
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if layer.trainable:
            layer.set_weights([w + np.abs(rng.normal(0, 0.05, w.shape)) for w in layer.get_weights()])
    return model


def pictures(number: int = 12, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (number, size, size, 3), dtype=np.uint8)


def logits(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return scorer(keras.Model(model.input, model.get_layer("logit").output))(images)


def written(folder: Path, model: keras.Model, size: int) -> Detector:
    made = {"data": {"name": "faces"}, "metrics": {}, "run_id": "0123abcd", "created": "today", "versions": {}}
    card = Card(class_names=["Real", "Fake"], input_size=size, resize="squash", threshold=0.5, model="ensemble", **made)
    write(folder, model, card)
    return Detector.load(folder)


@pytest.fixture(scope="module")
def members() -> list[keras.Model]:
    """Two of the same network, whose layers have the same names, and another."""
    return [build("cnn"), build("cnn", seed=1), build("cnn_bn", seed=2)]


@pytest.fixture(scope="module")
def ensemble(members: list[keras.Model]) -> keras.Model:
    return average(members, TEMPERATURES)


def test_the_logit_is_the_mean_of_the_calibrated_logits(members: list[keras.Model], ensemble: keras.Model) -> None:
    images = pictures()
    each = [logits(member, images) / temperature for member, temperature in zip(members, TEMPERATURES, strict=True)]
    assert np.std(each, axis=0).min() > 0.01  # they disagree
    np.testing.assert_allclose(logits(ensemble, images), np.mean(each, axis=0), rtol=1e-5, atol=1e-5)
    expected = 1 / (1 + np.exp(-np.mean(each, axis=0)))
    np.testing.assert_allclose(scorer(ensemble)(images), expected, atol=1e-6)


def test_the_members_are_copied_not_shared(members: list[keras.Model]) -> None:
    ensemble, images = average(members[:2], [1, 1]), pictures()
    before = scorer(members[0])(images)
    ensemble.set_weights([np.zeros_like(weight) for weight in ensemble.get_weights()])
    np.testing.assert_array_equal(scorer(members[0])(images), before)


@pytest.mark.parametrize(
    "name",
    ["meso4", "residual", "rich", "dct", "mobilenet_v3", pytest.param("efficientnet_b0", marks=pytest.mark.slow)],
)
def test_every_network_can_be_a_member(name: str) -> None:
    one, images = build(name), pictures(4)
    np.testing.assert_allclose(logits(average([one, one], [2, 2]), images), logits(one, images) / 2, rtol=1e-4)


def test_it_is_a_detector_that_loads_where_this_project_is_not(ensemble: keras.Model, tmp_path: Path) -> None:
    images = pictures()
    np.testing.assert_allclose(written(tmp_path, ensemble, SIZE).score(images), scorer(ensemble)(images), atol=1e-6)
    np.save(tmp_path / "images.npy", images.astype("float32"))
    code = (
        "import keras, numpy as np, sys\n"
        f"model = keras.models.load_model({MODEL_FILE!r}, compile=False)\n"
        "np.save('said.npy', model.predict(np.load('images.npy'), verbose=0)[:, 0])\n"
        "assert 'deepfake' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "said.npy"), scorer(ensemble)(images), atol=1e-6)


def test_a_smaller_member_sees_the_picture_as_it_would_alone(tmp_path: Path) -> None:
    """Of a photograph of 100 x 80 the ensemble is given a square of 48 pixels, and one of its members sees 32."""
    small, large = build("cnn"), build("cnn", 48, seed=1)
    ensemble = average([small, large], [1, 1])
    assert ensemble.input_shape == (None, 48, 48, 3)
    drawn = np.random.default_rng(0).integers(0, 256, (8, 10, 8, 3), dtype=np.uint8)
    photographs = [np.array(Image.fromarray(image).resize((80, 100), Image.Resampling.BICUBIC)) for image in drawn]
    squares = {size: np.stack([square(image, size, "squash") for image in photographs]) for size in (32, 48)}
    alone = (logits(small, squares[32]) + logits(large, squares[48])) / 2
    np.testing.assert_allclose(logits(ensemble, squares[48]), alone, atol=0.02 * np.std(alone))
    seen = keras.Model(ensemble.input, ensemble.get_layer("member_1_image").output)
    difference = np.abs(seen.predict(squares[48].astype("float32"), verbose=0) - squares[32])
    assert difference.mean() < 1  # of 255
    np.testing.assert_allclose(written(tmp_path, ensemble, 48).score(squares[48]), scorer(ensemble)(squares[48]))


def test_its_evidence_is_the_mean_of_the_members(members: list[keras.Model], ensemble: keras.Model) -> None:
    images = pictures(4)
    scores, evidence = examiner(ensemble)(images)
    np.testing.assert_allclose(scores, scorer(ensemble)(images), atol=1e-6)
    alike = average(members[:2], [1, 1])
    each = [examiner(member)(images)[1] for member in members[:2]]
    np.testing.assert_allclose(examiner(alike)(images)[1], np.mean(each, axis=0), rtol=1e-3, atol=1e-5)
    assert evidence.shape == (4, 16, 16)


def spot(size: int, where: tuple[slice, slice]) -> keras.Model:
    """A network whose logit is the mean brightness of a part of the picture."""
    image = keras.Input((size, size, 3), name="image")
    x = layers.Conv2D(1, 1, use_bias=False, kernel_initializer=keras.initializers.Constant(1 / 3))(image)
    logit = layers.Dense(1, name="logit")(layers.Flatten()(layers.Rescaling(1 / 127.5, offset=-1)(x)))
    model = keras.Model(image, layers.Activation("sigmoid", name="p_fake")(logit))
    kernel = np.zeros((size, size), np.float32)
    kernel[where] = 1 / kernel[where].size
    model.get_layer("logit").set_weights([kernel.reshape(-1, 1), np.zeros(1, np.float32)])
    return model


def test_members_of_another_size_weigh_as_much_in_a_map() -> None:
    """One looks at the upper left at 32 pixels, one at the lower right at 64: both lie in the map, equally strong."""
    ensemble = average([spot(32, np.s_[:16, :16]), spot(64, np.s_[32:, 32:])], [1, 1])
    white = np.full((1, 64, 64, 3), 255, np.uint8)
    (evidence,) = examiner(ensemble)(white)[1]
    half = len(evidence) // 2
    upper, lower = evidence[:half, :half].sum(), evidence[half:, half:].sum()
    assert upper == pytest.approx(lower, rel=0.05)
    assert upper + lower == pytest.approx(evidence.sum(), rel=0.05)
    assert explainer(ensemble)(white, np.array([True])).shape == (1, 64, 64)
