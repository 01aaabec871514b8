"""Every network takes raw pixels, gives P(fake), learns, and comes back from its `.h5` without this project."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from deepfake.config import CONF, Model, compose
from deepfake.errors import ModelError
from deepfake.models import network

LEAST_SIZE = {
    "cnn": 10,
    "cnn_bn": 8,
    "meso4": 16,
    "residual": 16,
    "rich": 12,
    "dct": 15,
    "mobilenet_v3": 32,
    "efficientnet_b0": 32,
    "xception": 71,
}
BACKBONES = ("mobilenet_v3", "efficientnet_b0", "xception")
every_model = pytest.mark.parametrize("name", LEAST_SIZE)


def settings(name: str, **changes: object) -> Model:
    return replace(compose([f"model={name}"]).model, **changes)


def pictures(size: int, number: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, size, size, 3), dtype=np.uint8)


def names(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers]


def step(model: keras.Model, images: np.ndarray) -> None:
    """Take one training step; run eagerly, as tracing a graph for one step takes longer."""
    model.compile(keras.optimizers.SGD(0.1), loss="binary_crossentropy", run_eagerly=True)
    model.train_on_batch(images.astype(np.float32), np.array([0, 1, 0, 1]))


def settle(model: keras.Model, images: np.ndarray) -> None:
    """Give batch normalisation the statistics of these images, as training would in the end.

    Without them, a fresh network answers all images alike.
    """
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(images, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


def up_to(model: keras.Model, layer: str) -> keras.Model:
    return keras.Model(model.input, model.get_layer(layer).output)


@pytest.fixture(scope="module")
def built() -> dict[str, keras.Model]:
    """Every model at the least size it works on."""
    keras.utils.set_random_seed(0)
    return {name: network.build(settings(name), size) for name, size in LEAST_SIZE.items()}


@pytest.fixture(scope="module")
def trained(built: dict[str, keras.Model]) -> dict[str, tuple[keras.Model, list[np.ndarray]]]:
    """The same models after one training step, and the weights they had before."""
    before = {}
    for name, model in built.items():
        before[name] = model.get_weights()
        step(model, pictures(LEAST_SIZE[name]))
    return {name: (model, before[name]) for name, model in built.items()}


@pytest.fixture
def bfloat16() -> Iterator[None]:
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


# ------------------------------------------------------------------------------------------------------- every model


def test_there_is_a_model_for_every_file_of_the_model_group() -> None:
    assert {path.stem for path in (CONF / "model").glob("*.yaml")} == set(LEAST_SIZE)


@every_model
def test_raw_pixels_give_p_fake(built: dict[str, keras.Model], name: str) -> None:
    images = pictures(LEAST_SIZE[name])
    p_fake = built[name](images).numpy()
    assert p_fake.shape == (4, 1)
    assert p_fake.dtype == np.float32
    assert ((p_fake >= 0) & (p_fake <= 1)).all()
    np.testing.assert_allclose(p_fake, built[name](images.astype(np.float32)).numpy(), atol=1e-6)
    assert names(built[name])[0] == "image"
    assert names(built[name])[-2:] == ["logit", "p_fake"]


@every_model
def test_a_training_step_moves_every_layer(trained: dict[str, tuple[keras.Model, list[np.ndarray]]], name: str) -> None:
    model, before = trained[name]
    learnt = [(old, new) for old, new in zip(before, model.weights, strict=True) if new.trainable]
    moved = [not np.array_equal(old, new) for old, new in learnt]
    assert np.mean(moved) > 0.9  # all but a bias here and there, behind units that are at rest


@every_model
def test_two_builds_agree_in_names_and_order(built: dict[str, keras.Model], name: str) -> None:
    """What was trained in bfloat16 is exported by copying its weights, in order, into a new build."""
    again = network.build(settings(name), LEAST_SIZE[name])
    assert names(again) == names(built[name])
    assert [w.path for w in again.weights] == [w.path for w in built[name].weights]
    again.set_weights(built[name].get_weights())
    images = pictures(LEAST_SIZE[name])
    np.testing.assert_allclose(again(images), built[name](images), atol=1e-6)


@every_model
def test_it_is_flat_and_of_stock_layers(built: dict[str, keras.Model], name: str) -> None:
    for operation in built[name].operations:  # layers, and the arithmetic that an .h5 would not hold
        assert type(operation).__module__.startswith("keras."), operation
        assert isinstance(operation, keras.Layer), operation
        assert not isinstance(operation, keras.Model), operation


@every_model
def test_batch_normalisation_forgets_its_first_statistics_within_an_epoch(
    built: dict[str, keras.Model], name: str
) -> None:
    momenta = {layer.momentum for layer in built[name].layers if isinstance(layer, layers.BatchNormalization)}
    assert all(momentum**75 < 0.001 for momentum in momenta)


LOADER = """
import sys, numpy as np, keras
for path in sys.argv[1:]:
    model = keras.models.load_model(path, compile=False)
    data = np.load(path.replace(".h5", ".npz"))
    np.testing.assert_allclose(model(data["images"]), data["p_fake"], rtol=0, atol=1e-5, err_msg=path)
    logit = keras.Model(model.input, model.get_layer("logit").output)(data["images"])
    assert np.ptp(data["logit"]) > 0, "all alike: " + path
    np.testing.assert_allclose(logit, data["logit"], rtol=0, atol=0.01 * np.ptp(data["logit"]), err_msg=path)
assert not [name for name in sys.modules if name.startswith("deepfake")]
print("loaded", len(sys.argv) - 1)
"""


@pytest.mark.slow
def test_an_h5_loads_where_this_project_is_not(tmp_path: Path) -> None:
    """A fresh network gives all images a P(fake) near 0.5, so logits are compared too, by what sets them apart."""
    for name, size in LEAST_SIZE.items():
        keras.utils.set_random_seed(0)
        model = network.build(settings(name), size)
        images = pictures(size)
        images[0] //= 4  # a dark picture among bright ones
        model.save(tmp_path / f"{name}.h5")
        np.savez(tmp_path / f"{name}.npz", images=images, p_fake=model(images), logit=up_to(model, "logit")(images))
    paths = [str(tmp_path / f"{name}.h5") for name in LEAST_SIZE]
    done = subprocess.run(
        [sys.executable, "-c", LOADER, *paths], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout == f"loaded {len(LEAST_SIZE)}\n", done.stderr


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("name", ["cnn", "cnn_bn", "meso4", "residual", "mobilenet_v3"])
def test_in_bfloat16_the_image_is_scaled_and_p_fake_is_given_in_float32(
    built: dict[str, keras.Model], name: str
) -> None:
    model = network.build(settings(name), 32)
    assert model(pictures(32)).dtype == "float32"
    computed = {layer.name: layer.compute_dtype for layer in model.layers}
    assert computed["rescaling"] == computed["logit"] == computed["p_fake"] == "float32"
    assert {dtype for layer, dtype in computed.items() if "conv" in layer or "depthwise" in layer} == {"bfloat16"}
    assert [(w.path, w.dtype) for w in model.weights] == [(w.path, "float32") for w in built[name].weights]


@pytest.mark.parametrize(
    ("name", "changes", "least"),
    [
        ("cnn", {}, 10),
        ("cnn", {"filters": [8] * 6}, 190),
        ("cnn_bn", {"filters": [8] * 6}, 32),
        ("residual", {}, 16),
        ("rich", {}, 12),
        ("dct", {}, 15),
        ("mobilenet_v3", {}, 32),
        ("efficientnet_b0", {}, 32),
        ("xception", {}, 71),
    ],
)
def test_an_image_too_small_is_refused_with_the_least_size(name: str, changes: dict, least: int) -> None:
    with pytest.raises(ModelError, match=f"model={name} needs images of at least {least} px .* is {least - 1}"):
        network.build(settings(name, **changes), least - 1)


@pytest.mark.parametrize(("name", "least"), [("cnn", 190), ("cnn_bn", 32)])
def test_the_least_size_is_enough(name: str, least: int) -> None:
    model = network.build(settings(name, filters=[2] * 6), least)
    assert model.layers[-4 if name == "cnn_bn" else -5].input.shape[1:3] == (1, 1)


# ---------------------------------------------------------------------------------------------------- cnn and meso4


def test_the_seed_is_two_blocks_and_a_dense_layer() -> None:
    model = network.build(settings("cnn"), 128)
    assert [type(layer) for layer in model.layers] == [
        layers.InputLayer,
        layers.Rescaling,
        layers.Conv2D,
        layers.MaxPooling2D,
        layers.Conv2D,
        layers.MaxPooling2D,
        layers.Flatten,
        layers.Dense,
        layers.Dropout,
        layers.Dense,
        layers.Activation,
    ]
    convolutions = (3 * 3 * 3 + 1) * 32 + (3 * 3 * 32 + 1) * 64
    dense = (30 * 30 * 64 + 1) * 128 + (128 + 1)
    assert model.count_params() == convolutions + dense == 7_392_449


def test_meso4_has_the_27977_weights_of_the_paper() -> None:
    model = network.build(settings("meso4"), 256)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 27_977


@pytest.mark.parametrize("size", [64, 75, 100])
def test_meso4_takes_any_size(size: int) -> None:
    assert network.build(settings("meso4"), size)(pictures(size)).shape == (4, 1)


# -------------------------------------------------------------------------------------------------------- backbones


@pytest.fixture(scope="module")
def original() -> keras.Model:
    """MobileNetV3 as Keras builds it."""
    keras.utils.set_random_seed(1)
    network = keras.applications.MobileNetV3Small(
        include_top=False, weights=None, input_shape=(33, 33, 3), pooling="avg"
    )
    settle(network, pictures(33).astype(np.float32))
    return network


@pytest.mark.parametrize("file", ["backbone.h5", "backbone.weights.h5"])
def test_weights_from_a_file_make_the_network_that_keras_saved(
    original: keras.Model, tmp_path: Path, file: str
) -> None:
    path = tmp_path / file
    (original.save_weights if file.endswith(".weights.h5") else original.save)(path)
    model = network.build(settings("mobilenet_v3", weights=str(path)), 33)
    loaded = {weight.path: weight.numpy() for weight in model.weights}
    for weight in original.weights:
        np.testing.assert_array_equal(loaded[weight.path], weight.numpy())
    images = pictures(33)
    expected = original(images.astype(np.float32)).numpy()
    assert np.ptp(expected, axis=0).max() > 0.1
    np.testing.assert_allclose(up_to(model, "avg_pool")(images), expected, atol=1e-4)


@pytest.mark.parametrize(("name", "application"), [("efficientnet_b0", "EfficientNetB0"), ("xception", "Xception")])
def test_pretrained_networks_get_the_pixels_they_were_trained_on(name: str, application: str, tmp_path: Path) -> None:
    """EfficientNet's ImageNet pixels are (x / 255 - mean) / deviation, whatever statistics the file holds."""
    size = LEAST_SIZE[name]
    stock = getattr(keras.applications, application)(include_top=False, weights=None, input_shape=(size, size, 3))
    stock.save_weights(tmp_path / "backbone.weights.h5")
    model = network.build(settings(name, weights=str(tmp_path / "backbone.weights.h5")), size)
    images = pictures(size)
    if name == "xception":
        pixels = images / 127.5 - 1
    else:  # Keras built this network with a Normalization that does nothing yet, after a division by 255
        pixels = 255 * (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    expected = stock(pixels.astype(np.float32)).numpy().mean(axis=(1, 2))
    np.testing.assert_allclose(
        up_to(model, "avg_pool")(images), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()
    )


def test_a_weights_file_that_is_missing_or_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.weights=.*nowhere\.h5: no such file"):
        network.build(settings("mobilenet_v3", weights=str(tmp_path / "nowhere.h5")), 64)
    (tmp_path / "notes.h5").write_text("not weights")
    (tmp_path / "notes.txt").touch()
    other = network.build(settings("meso4"), 64)
    other.save(tmp_path / "other.h5")
    other.save_weights(tmp_path / "other.weights.h5")
    for path in tmp_path.iterdir():
        with pytest.raises(ModelError, match=r"not a \.h5 or \.weights\.h5 file of mobilenet_v3 without top") as caught:
            network.build(settings("mobilenet_v3", weights=str(path)), 64)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_imagenet_without_a_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))  # nothing downloaded before
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody answers
    with pytest.raises(ModelError, match=r"weights of mobilenet_v3.*set model\.weights to its path") as caught:
        network.build(settings("mobilenet_v3", weights="imagenet"), 64)
    assert "\n" not in str(caught.value)


def test_a_pretrained_model_is_frozen_but_for_its_head_and_then_fine_tuned(
    original: keras.Model, tmp_path: Path
) -> None:
    original.save_weights(tmp_path / "backbone.weights.h5")
    pretrained = settings("mobilenet_v3", weights=str(tmp_path / "backbone.weights.h5"))
    model = network.build(pretrained, 33)
    images = pictures(33).astype(np.float32)
    order, p_fake = [weight.path for weight in model.weights], model(images).numpy()

    network.freeze(model, pretrained)
    assert [weight.path for weight in model.trainable_weights] == ["logit/kernel", "logit/bias"]
    step(model, images)
    before = up_to(model, "avg_pool")(images).numpy()
    np.testing.assert_array_equal(
        before, up_to(network.build(pretrained, 33), "avg_pool")(images)
    )  # head alone has moved
    assert not np.array_equal(p_fake, model(images))

    network.unfreeze(model)
    model.compile(keras.optimizers.SGD(0.1), loss="binary_crossentropy")
    statistics = {w.path: w.numpy() for w in model.weights if "moving" in w.path}
    model.train_on_batch(images, np.array([0, 1, 0, 1]))
    assert not np.array_equal(before, up_to(model, "avg_pool")(images))
    assert all(np.array_equal(statistics[w.path], w) for w in model.weights if "moving" in w.path)
    assert [weight.path for weight in model.weights] == order


@pytest.mark.parametrize("name", ["cnn_bn", "mobilenet_v3"])
def test_a_model_from_scratch_is_never_frozen(built: dict[str, keras.Model], name: str) -> None:
    trainable = len(built[name].trainable_weights)
    network.freeze(built[name], settings(name))
    assert len(built[name].trainable_weights) == trainable
