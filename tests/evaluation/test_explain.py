"""Heat maps mark what a verdict rests on, for every model, and the check tells maps that do from maps that do not."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from matplotlib.figure import Figure
from PIL import Image

from deepfake import detector
from deepfake.config import compose
from deepfake.data.dataset import Split
from deepfake.errors import ModelError
from deepfake.evaluation.explain import DRAWS, check, deletion, most_confident
from deepfake.evaluation.heatmap import explainer, feature_layer, overlay
from deepfake.models import network
from deepfake.models.scoring import scorer

SIZE = 32
TOP_LEFT = np.s_[:, : SIZE // 2, : SIZE // 2]


def pictures(number: int, side: int = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, side, side, 3), dtype=np.uint8)


def yes(number: int) -> np.ndarray:
    return np.ones(number, bool)


def net(*inner: layers.Layer, side: int = SIZE) -> keras.Model:
    keras.utils.set_random_seed(0)
    x = image = keras.Input((side, side, 3), name="image")
    for layer in [layers.Rescaling(1 / 255), *inner]:
        x = layer(x)
    logit = layers.Dense(1, name="logit")(x)
    return keras.Model(image, layers.Activation("sigmoid", name="p_fake")(logit))


def inside(where: tuple, value: float = 1.0) -> np.ndarray:
    weights = np.zeros((1, SIZE, SIZE), np.float32)
    weights[where] = value
    return weights[0]


def brightness(weights: np.ndarray) -> keras.Model:
    """A net whose logit is the sum over the picture of brightness times these weights, (SIZE, SIZE)."""
    model = net(layers.Conv2D(1, 1, kernel_initializer="ones"), layers.Flatten())
    model.get_layer("logit").set_weights([weights.reshape(-1, 1), np.zeros(1)])
    return model


def grain() -> keras.Model:
    """A net whose logit is the contrast of neighbouring pixels in the top left quadrant."""
    edges = np.zeros((3, 3, 3, 2), np.float32)
    edges[:, :, 1, 0] = [[0, -1, 0], [-1, 4, -1], [0, -1, 0]]
    edges[..., 1] = -edges[..., 0]
    model = net(layers.Conv2D(2, 3, padding="same", activation="relu", name="edges"), layers.Flatten())
    model.get_layer("edges").set_weights([edges, np.zeros(2)])
    model.get_layer("logit").set_weights([inside(TOP_LEFT).repeat(2).reshape(-1, 1), np.zeros(1)])
    return model


def share_of(maps: np.ndarray, where: tuple) -> float:
    """How much of the heat lies there."""
    return float(maps[where].sum() / maps.sum())


def logit_of(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    return scorer(keras.Model(model.input, model.get_layer("logit").output))


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
    model = network.build(compose([f"model={name}"]).model, SIZE)
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
    model = network.build(compose(["model.filters=[4,8]", "model.dense=8"]).model, SIZE)
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


def test_each_verdict_has_its_own_evidence() -> None:
    """The left speaks for Fake, the right as much for Real: averaged over the picture, nothing would."""
    left, right = np.s_[:, :, : SIZE // 2], np.s_[:, :, SIZE // 2 :]
    maps = explainer(brightness(inside(left) - inside(right)))(pictures(2), np.array([True, False]))
    assert share_of(maps[:1], left) > 0.95
    assert share_of(maps[1:], right) > 0.95


def test_before_an_average_it_is_the_class_activation_map() -> None:
    """Zhou et al. 2016: the last features, weighted by the last layer's weights; Grad-CAM and HiResCAM agree there."""
    model = net(layers.Conv2D(6, 3, activation="relu", padding="same"), layers.GlobalAveragePooling2D(), side=16)
    images = pictures(2, 16)
    features = keras.Model(model.input, model.layers[2].output)(images).numpy()
    expected = np.maximum(features @ model.get_layer("logit").kernel.numpy()[:, 0], 0)
    expected /= expected.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(explainer(model)(images, yes(2)), expected, atol=1e-5)


def test_any_number_of_images_from_memory_or_disk_gives_the_same(tmp_path: Path) -> None:
    model = net(layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), side=16)
    explained, images = explainer(model), pictures(130, 16)
    fake = np.arange(130) % 3 == 0
    images.tofile(tmp_path / "pixels.u8")
    maps = explained(np.memmap(tmp_path / "pixels.u8", np.uint8, "r", shape=images.shape), fake)
    alone = [explained(images[i : i + 1], fake[i : i + 1])[0] for i in (0, 63, 64, 129)]
    np.testing.assert_allclose(maps[[0, 63, 64, 129]], alone, atol=1e-5)


@pytest.mark.parametrize(("name", "size"), [("xception", 71), ("rich", 32), ("dct", 32)])
def test_a_deep_network_is_explained_and_one_that_looks_things_up(name: str, size: int) -> None:
    keras.utils.set_random_seed(0)
    maps = explainer(network.build(compose([f"model={name}"]).model, size))(pictures(2, size), np.array([True, False]))
    assert maps.shape == (2, size, size)
    assert np.isfinite(maps).all()
    assert maps.max() == 1


def test_a_loaded_detector_is_explained_like_the_model_it_was_made_of(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = network.build(replace(compose(["model=cnn"]).model, filters=[4, 8], dense=16), SIZE)
    card = detector.Card(["Real", "Fake"], SIZE, "squash", 0.5, "cnn", {}, {}, "a run", "2026-01-01T00:00:00Z", {})
    detector.write(tmp_path, model, card)
    loaded, images = detector.Detector.load(tmp_path), pictures(5)
    fake = loaded.score(images) >= loaded.card.threshold
    np.testing.assert_allclose(explainer(loaded.model)(images, fake), explainer(model)(images, fake), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [
        ("cnn", 128, "pool_2"),
        ("cnn", 64, "conv_2"),
        ("cnn_bn", 64, "relu_2_2"),
        ("meso4", 128, "bn_3"),
        ("rich", 32, "evidence"),
        ("dct", 64, "evidence"),  # before which there is no gradient
    ],
)
def test_the_last_layer_of_at_least_24_cells_a_side_is_explained(name: str, size: int, layer: str) -> None:
    assert feature_layer(network.build(compose([f"model={name}"]).model, size)).name == layer


def test_where_nothing_but_numbers_follows_a_step_the_picture_itself_is_explained() -> None:
    image = keras.Input((SIZE, SIZE, 3), name="picture")
    steps = [layers.Flatten()(layers.Rescaling(2000.0, offset=-border)(image)) for border in (1e5, 2e5)]
    model = keras.Model(image, layers.Dense(1, name="logit")(layers.Concatenate()(steps)))
    assert feature_layer(model).name == "picture"


def test_a_layer_that_some_of_the_picture_bypasses_is_passed_over() -> None:
    image = keras.Input((SIZE, SIZE, 3))
    trunk = layers.Conv2D(4, 3, padding="same", name="trunk")(image)
    branch = layers.Conv2D(4, 3, padding="same", name="branch")(trunk)
    joined = layers.Add(name="joined")([trunk, branch])
    padded = layers.ZeroPadding2D(name="padded")(joined)  # whose cells lie elsewhere than the picture's
    x = layers.Flatten()(layers.Conv2D(4, 3, strides=2, name="halved")(padded))
    assert feature_layer(keras.Model(image, layers.Dense(1, name="logit")(x))).name == "joined"
    x = layers.Flatten()(layers.Conv2D(4, 3, strides=2, name="halved")(branch))
    skipped = layers.Concatenate()([x, layers.Flatten()(trunk)])
    assert feature_layer(keras.Model(image, layers.Dense(1, name="logit")(skipped))).name == "trunk"


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_a_map_that_says_nothing_is_found_out(value: float) -> None:
    maps = np.full((60, SIZE, SIZE), value, np.float32)
    found = deletion(logit_of(grain()), pictures(60), maps, yes(60), seed=0)
    assert found.ratio == pytest.approx(1, abs=0.05)
    assert 0.3 < found.share < 0.7


def test_the_change_is_counted_against_the_verdict() -> None:
    """Where nothing but the verdict is turned round, what is taken from it is turned round too."""
    model, images = grain(), pictures(10)
    maps = np.random.default_rng(1).random((10, SIZE, SIZE)).astype(np.float32)
    fake, real = (deletion(logit_of(model), images, maps, verdict, seed=0) for verdict in (yes(10), ~yes(10)))
    assert (real.top, real.random) == pytest.approx((-fake.top, -fake.random))
    assert np.isnan(real.ratio)


def test_hidden_is_blurred_and_a_fifth() -> None:
    """Counted by a scorer that only sees how many pixels of a checkerboard have turned grey."""
    board = np.where(np.indices((40, 40)).sum(axis=0) % 2, 255, 0).astype(np.uint8)
    images = np.repeat(board[None, :, :, None], 3, axis=3)
    counted = []

    def count(seen: np.ndarray) -> np.ndarray:
        counted.append(np.mean((seen[..., 0] > 100) & (seen[..., 0] < 155)))
        return np.zeros(len(seen))

    deletion(count, images, np.random.default_rng(0).random((1, 40, 40)), yes(1), seed=0)
    assert counted == [0, *[pytest.approx(0.2)] * (1 + DRAWS)]


def test_a_split_is_checked_on_some_images_of_each_class() -> None:
    model, images, labels = grain(), pictures(30), np.repeat([0, 1], [20, 10])
    split = Split(images, labels, [str(i) for i in range(30)], [str(i) for i in range(30)])
    assert check(model, split, yes(30), 12, seed=0).images == 12 + 10
    some = np.r_[0:20:2, 20:30]  # ten of each class, evenly spread
    maps = explainer(model)(images[some], yes(20))
    expected = deletion(logit_of(model), images[some], maps, yes(20), seed=3)
    assert check(model, split, yes(30), 10, seed=3) == expected


def png(figure: Figure) -> np.ndarray:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGB"))


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts + figure.axes[0].texts]


def test_each_kind_has_a_row_of_its_own_the_surest_first() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.9, 0.7, 0.8, 0.05])
    labels = np.array([0, 0, 0, 0, 1, 1, 1])
    images, explained = pictures(7), explainer(brightness(inside(TOP_LEFT)))
    figure = most_confident(images, labels, scores, 0.5, explained, ["Real", "Fake"])
    assert words(figure)[1:] == [
        *("Real, right\nP(fake) 0.10", "Real, right\nP(fake) 0.20", "Real, right\nP(fake) 0.30"),
        *("Fake, right\nP(fake) 0.80", "Fake, right\nP(fake) 0.70", ""),
        *("Real, called Fake\nP(fake) 0.90", "", ""),
        *("Fake, called Real\nP(fake) 0.05", "", ""),
    ]
    drawn = figure.axes[0].images[0].get_array()
    pair = np.concatenate([images[0], overlay(images[:1], explained(images[:1], ~yes(1)))[0]])
    large = pair.repeat(4, axis=0).repeat(4, axis=1)
    np.testing.assert_array_equal(drawn[: len(large), : large.shape[1]], large)
    assert png(figure).shape[0] > 4 * len(large)  # four rows


def test_no_more_than_eight_of_a_kind_and_no_row_for_a_kind_that_is_missing() -> None:
    scores, explained = np.linspace(0.6, 0.9, 20), explainer(brightness(inside(TOP_LEFT)))
    figure = most_confident(pictures(20), yes(20).astype(int), scores, 0.5, explained, ["No", "Yes"])
    assert words(figure)[1:] == [f"Yes, right\nP(yes) {p:.2f}" for p in scores[::-1][:8]]
    png(figure)


def test_without_images_the_sheet_says_so() -> None:
    none, explained = np.zeros(0), explainer(brightness(inside(TOP_LEFT)))
    figure = most_confident(pictures(0), none, none, 0.5, explained, ["Real", "Fake"])
    assert "none to show" in words(figure)
    png(figure)
