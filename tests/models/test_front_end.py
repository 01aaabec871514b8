"""A front end takes away what a picture shows, learns nothing, and goes with the model wherever that goes."""

import subprocess
import sys
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy import ndimage, signal

from deepfake.config import Model, compose
from deepfake.detector import Card, Detector, write
from deepfake.errors import ConfigError, ModelError
from deepfake.evaluation.heatmap import explainer
from deepfake.models import network
from deepfake.models.front_end import front_end
from deepfake.training import fast
from deepfake.training.fit import dtype_policy
from deepfake.training.optimizers import FusedAdam

FRONT_ENDS = ("srm", "npr", "highpass")
every_front_end = pytest.mark.parametrize("name", FRONT_ENDS)
alone_and_beside_rgb = pytest.mark.parametrize(
    ("name", "beside_rgb"), [("srm", True), ("npr", False), ("highpass", True)]
)
LEAST_SIZE = {"cnn": 10, "cnn_bn": 8, "meso4": 16, "mobilenet_v3": 32, "efficientnet_b0": 32}


def settings(front: str, model: str = "cnn", **changes: object) -> Model:
    return replace(compose([f"model={model}", f"model.front_end={front}"]).model, **changes)


def pictures(size: int, number: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, size, size, 3), dtype=np.uint8)


def front_net(name: str, size: int, beside_rgb: bool = False) -> keras.Model:
    image = keras.Input((size, size, 3), name="image")
    return keras.Model(image, front_end(image, settings(name, beside_rgb=beside_rgb)))


def residuals(name: str, images: np.ndarray) -> np.ndarray:
    """What a front end gives, about 0."""
    return front_net(name, images.shape[1])(images).numpy() - 127.5


def fixed(model: keras.Model) -> dict[str, np.ndarray]:
    """The weights of the front end."""
    return {weight.path: weight.numpy() for weight in model.weights if weight.path.startswith("front_")}


# ------------------------------------------------------------------------------------------------- what each one does


@every_front_end
@pytest.mark.parametrize("size", [16, 17])
def test_nothing_is_left_of_a_flat_image(name: str, size: int) -> None:
    """Not even at the border."""
    flat = np.broadcast_to(np.array([200, 90, 7], np.uint8), (2, size, size, 3))
    left = residuals(name, flat)
    assert left.shape == (2, size, size, 3)
    assert left.dtype == np.float32
    assert (left == 0).all()


def test_srm_is_three_filters_of_the_sum_of_the_channels() -> None:
    second_difference = np.array([[1, -2, 1]])
    square = -second_difference.T @ second_difference / 4
    kv = np.array([[-1, 2, -2], [2, -6, 8], [-2, 8, -12]]) / 12  # one quarter of a filter that is the same all around
    kv = np.pad(kv, ((0, 2), (0, 2)), "reflect")
    image = pictures(20)[0]
    grey = image.sum(axis=2).astype(float)
    left = residuals("srm", image[None])[0]
    for channel, kernel in enumerate((square, kv, second_difference / 2)):
        expected = signal.correlate2d(grey, kernel, mode="same")[2:-2, 2:-2]
        np.testing.assert_allclose(left[2:-2, 2:-2, channel], 5 * expected, rtol=1e-5, atol=1e-3)
    assert (np.delete(left, np.s_[2:-2], axis=0) == 0).all()


def test_npr_of_an_image_enlarged_by_nearest_neighbour_is_zero() -> None:
    small = pictures(9)
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    assert (residuals("npr", large) == 0).all()
    assert (residuals("npr", large[:, :-1, :-1]) == 0).all()  # an odd side
    assert np.abs(residuals("npr", large[:, 1:, 1:])).max() > 0  # the grid has moved


@pytest.mark.parametrize("size", [6, 7])
def test_npr_is_the_difference_from_the_first_pixel_of_four(size: int) -> None:
    image = pictures(size, 1)
    left = residuals("npr", image)[0]
    for row in range(size):
        for column in range(size):
            first = image[0, row - row % 2, column - column % 2].astype(float)
            np.testing.assert_allclose(left[row, column], 5 * (image[0, row, column] - first), atol=1e-3)


def test_highpass_is_the_laplacian_of_each_channel() -> None:
    image = pictures(12)[0]
    left = residuals("highpass", image[None])[0]
    for channel in range(3):
        expected = -3 * ndimage.laplace(image[..., channel].astype(float))
        np.testing.assert_allclose(left[1:-1, 1:-1, channel], expected[1:-1, 1:-1], rtol=1e-5, atol=1e-3)


@every_front_end
def test_beside_rgb_the_pixels_come_first_as_they_are(name: str) -> None:
    images = pictures(17)
    both = front_net(name, 17, beside_rgb=True)(images).numpy()
    np.testing.assert_array_equal(both[..., :3], images)
    np.testing.assert_array_equal(both[..., 3:] - 127.5, residuals(name, images))


def test_without_a_front_end_nothing_stands_beside_the_pixels() -> None:
    plain, beside = (network.build(settings("none", beside_rgb=beside), 16) for beside in (False, True))
    assert [layer.name for layer in beside.layers] == [layer.name for layer in plain.layers]
    assert beside.count_params() == plain.count_params()


def test_one_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match="model.front_end=sobel: should be 'none', 'srm', 'npr' or 'highpass'"):
        compose(["model.front_end=sobel"])


@every_front_end
def test_in_bfloat16_the_residuals_are_the_same(name: str) -> None:
    images = pictures(16)
    with dtype_policy("bfloat16"):
        model = network.build(settings(name), 16)
    assert {layer.compute_dtype for layer in model.layers if layer.name.startswith("front_")} == {"float32"}
    found = keras.Model(model.input, model.get_layer("front_centre").output)(images).numpy()
    np.testing.assert_array_equal(found - 127.5, residuals(name, images))


# ------------------------------------------------------------------------------------------------------- in a network


@pytest.mark.parametrize(("model_name", "name"), list(zip(LEAST_SIZE, cycle(FRONT_ENDS), strict=False)))
def test_every_network_learns_from_six_channels_and_the_front_end_does_not(model_name: str, name: str) -> None:
    keras.utils.set_random_seed(0)
    size = LEAST_SIZE[model_name]
    model = network.build(settings(name, model_name, beside_rgb=True), size)
    assert model.input_shape == (None, size, size, 3)
    assert model.get_layer("rescaling").output.shape == (None, size, size, 6)
    first = next(w for w in model.trainable_weights if len(w.shape) == 4)
    assert first.shape[2] == 6
    named = [layer.name for layer in model.layers if layer.name.startswith("front_")]  # what fine-tuning leaves alone
    assert named == [layer.name for layer in front_net(name, size, beside_rgb=True).layers[1:]]
    assert not [w.path for w in model.trainable_weights if w.path.startswith("front_")]
    before, start = fixed(model), first.numpy()
    model.compile(keras.optimizers.SGD(0.1), loss="binary_crossentropy", run_eagerly=True)
    model.train_on_batch(pictures(size).astype(np.float32), np.array([0, 1, 0, 1]))
    moved = np.abs(first.numpy() - start).max(axis=(0, 1, 3))
    assert (moved > 0).all()
    assert len(before) == (0 if name == "npr" else 1)
    for path, weights in fixed(model).items():
        np.testing.assert_array_equal(weights, before[path])


@alone_and_beside_rgb
def test_a_fast_copy_learns_the_same(name: str, beside_rgb: bool) -> None:
    keras.utils.set_random_seed(0)
    stock = network.build(settings(name, beside_rgb=beside_rgb, dropout=0.0), 35)
    copy, start = fast.accelerate(stock), np.concatenate([w.ravel() for w in stock.get_weights()])
    images = pictures(35, 8)
    ends = []
    for model, optimizer in ((stock, keras.optimizers.Adam(1e-4)), (copy, FusedAdam(1e-4))):
        model.compile(optimizer, "binary_crossentropy", jit_compile=False)
        for _ in range(4):
            model.train_on_batch(images, np.arange(8)[:, None] % 2)
        ends.append(np.concatenate([w.ravel() for w in model.get_weights()]))
    assert np.abs(ends[0] - start).max() > 2e-4
    assert np.abs(ends[0] - ends[1]).max() < 2e-5


@every_front_end
def test_a_fast_copy_in_bfloat16_gives_the_same_and_its_weights_go_into_float32(name: str) -> None:
    images = pictures(33)
    with dtype_policy("bfloat16"):
        stock = network.build(settings(name, beside_rgb=True), 33)
        copy = fast.accelerate(stock)
    np.testing.assert_allclose(copy(images), stock(images), atol=0.01)
    exported = network.build(settings(name, beside_rgb=True), 33)
    kernels = fixed(exported)
    exported.set_weights(copy.get_weights())
    for path, weights in fixed(exported).items():
        np.testing.assert_array_equal(weights, kernels[path])
    np.testing.assert_allclose(exported(images), stock(images), atol=0.02)


@alone_and_beside_rgb
def test_its_verdicts_are_explained(name: str, beside_rgb: bool) -> None:
    keras.utils.set_random_seed(0)
    model = network.build(settings(name, beside_rgb=beside_rgb), 32)
    maps = explainer(model)(pictures(32), np.array([True, False, True, False]))
    assert maps.shape == (4, 32, 32)
    assert maps.max() == 1


# --------------------------------------------------------------------------------------------------- pretrained weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "backbone.weights.h5"
    keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(33, 33, 3)).save_weights(path)
    return str(path)


def test_pretrained_weights_do_not_fit_six_channels(weights: str) -> None:
    for source in (weights, "imagenet"):
        with pytest.raises(ModelError, match="beside_rgb=true makes 6 channels .*set model.beside_rgb=false") as caught:
            network.build(settings("srm", "mobilenet_v3", beside_rgb=True, weights=source), 33)
        assert source in str(caught.value)
        assert "\n" not in str(caught.value)


def test_fine_tuning_leaves_the_front_end_alone(weights: str) -> None:
    pretrained = settings("srm", "mobilenet_v3", weights=weights)
    model = network.build(pretrained, 33)
    network.freeze(model, pretrained)
    network.unfreeze(model)
    trained = [weight.path for weight in model.trainable_weights]
    assert len(trained) > 10
    assert not [path for path in trained if path.startswith("front_")]


def test_efficientnet_scales_the_residuals_as_it_scales_the_pixels() -> None:
    model = network.build(settings("highpass", "efficientnet_b0", beside_rgb=True), 32)
    scaling = model.get_layer("rescaling")
    deviations = np.array([0.229, 0.224, 0.225] * 2)
    np.testing.assert_allclose(scaling.scale, 1 / (255 * deviations))
    np.testing.assert_allclose(scaling.offset, -np.array([0.485, 0.456, 0.406] * 2) / deviations)


# ------------------------------------------------------------------------------------------------------------- its file


def saved(folder: Path, name: str, beside_rgb: bool) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = network.build(settings(name, beside_rgb=beside_rgb, filters=[4, 8], dense=8), 17)
    about = {"model": "cnn", "data": {}, "metrics": {}, "run_id": "", "created": "", "versions": {}}
    write(folder, model, Card(class_names=["Real", "Fake"], input_size=17, resize="squash", threshold=0.5, **about))
    return model


@alone_and_beside_rgb
def test_a_detector_reads_it_back(tmp_path: Path, name: str, beside_rgb: bool) -> None:
    model = saved(tmp_path, name, beside_rgb)
    images = pictures(17)
    expected = model(images).numpy()[:, 0]
    assert np.ptp(expected) > 0
    detector = Detector.load(tmp_path)
    np.testing.assert_allclose(detector.score(images), expected, atol=1e-6)
    assert not any(layer.trainable for layer in detector.model.layers if layer.name.startswith("front_"))


LOADER = """
import sys, numpy as np, keras
for folder in sys.argv[1:]:
    model = keras.models.load_model(folder + "/deepfake_model.h5", compile=False)
    data = np.load(folder + "/expected.npz")
    np.testing.assert_allclose(model(data["images"]), data["p_fake"], rtol=0, atol=1e-6, err_msg=folder)
assert not [name for name in sys.modules if name.startswith("deepfake")]
print("loaded", len(sys.argv) - 1)
"""


@pytest.mark.slow
def test_the_h5_loads_where_this_project_is_not(tmp_path: Path) -> None:
    images = pictures(17)
    for name in FRONT_ENDS:
        model = saved(tmp_path / name, name, beside_rgb=True)
        np.savez(tmp_path / name / "expected.npz", images=images, p_fake=model(images))
    command = [sys.executable, "-c", LOADER, *(str(tmp_path / name) for name in FRONT_ENDS)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "loaded 3\n", done.stderr
