"""What other runtimes are given says what the `.h5` says, and a file that does not is not kept."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from deepfake import registry
from deepfake.cli import app
from deepfake.config import compose
from deepfake.detector import CARD_FILE, Card, Detector
from deepfake.errors import DeepfakeError, ModelError
from deepfake.export import export
from deepfake.models import network
from deepfake.models.scoring import temper

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated"),
    pytest.mark.filterwarnings("ignore:.*np.object"),
]
needs_onnx = pytest.mark.skipif(not find_spec("tf2onnx"), reason="pip install tf2onnx onnxruntime")
kinds = pytest.mark.parametrize("kind", ["tflite", "savedmodel", pytest.param("onnx", marks=needs_onnx)])
slow = pytest.mark.slow


def run_tflite(path: Path, images: np.ndarray) -> np.ndarray:
    serve = tf.lite.Interpreter(model_path=str(path)).get_signature_runner()
    return serve(image=images)["output_0"]


def run_savedmodel(path: Path, images: np.ndarray) -> np.ndarray:
    serve = tf.saved_model.load(path).signatures["serving_default"]  # what TensorFlow Serving calls
    return serve(image=tf.constant(images))["output_0"].numpy()


def run_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    return onnxruntime.InferenceSession(path).run(None, {"image": images})[0]


RUN: dict[str, Callable] = {"tflite": run_tflite, "savedmodel": run_savedmodel, "onnx": run_onnx}


@pytest.fixture(scope="module")
def detector(finished_run: dict) -> Detector:
    return Detector.load(registry.fetch(finished_run["run_id"]))


def untrained(name: str, size: int) -> Detector:
    """A detector that tells images apart, of any network: its batch normalisation has seen some, its logits spread."""
    keras.utils.set_random_seed(0)
    model = network.build(compose([f"model={name}"]).model, size)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    images = pictures(size)
    model(images, training=True)
    logits = keras.Model(model.input, model.get_layer("logit").output)(images).numpy()
    kernel, bias = model.get_layer("logit").get_weights()
    model.get_layer("logit").set_weights([kernel / logits.std(), bias - logits.mean() / logits.std()])
    card = Card(["Real", "Fake"], size, "squash", 0.5, name, {}, {}, "", "", {})
    return Detector(model, card)


def pictures(size: int) -> np.ndarray:
    """Noise on grey, from dark to light."""
    random = np.random.default_rng(1)
    return np.stack(
        [random.normal(level, 40, (size, size, 3)).clip(0, 255).round() for level in range(20, 250, 15)], dtype="f4"
    )


@kinds
def test_with_the_numbers_beside_it_it_is_the_detector(
    detector: Detector, kind: str, faces: Path, tmp_path: Path
) -> None:
    path = export(detector, kind, tmp_path / "out" / "exported")
    assert sorted(file.name for file in path.parent.iterdir()) == sorted([path.name, CARD_FILE])
    assert list(path.parent.parent.iterdir()) == [path.parent]

    images = np.stack([detector.prepare(file) for file in sorted(faces.glob("Test/*/*.png"))])
    uncalibrated = RUN[kind](path, images.astype(np.float32))
    card = json.loads((path.parent / CARD_FILE).read_text())
    p_fake = temper(uncalibrated[:, 0], card["temperature"])
    assert p_fake == pytest.approx(detector.score(images), abs=1e-5)
    assert np.ptp(p_fake) > 1e-3
    assert card["threshold"] == detector.card.threshold
    assert RUN[kind](path, images[:1].astype(np.float32)) == pytest.approx(uncalibrated[:1], abs=1e-5)


@kinds
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("cnn", 32),
        ("cnn_bn", 32),
        ("meso4", 32),
        ("rich", 32),
        ("dct", 32),
        pytest.param("mobilenet_v3", 64, marks=slow),
        pytest.param("efficientnet_b0", 64, marks=slow),
        pytest.param("xception", 71, marks=slow),
    ],
)
def test_every_network(name: str, size: int, kind: str, tmp_path: Path) -> None:
    detector = untrained(name, size)
    path = export(detector, kind, tmp_path / "exported")
    expected = detector.model(pictures(size)).numpy()
    assert expected.std() > 0.1
    assert RUN[kind](path, pictures(size)) == pytest.approx(expected, abs=1e-4)


@kinds
def test_one_that_says_something_else_is_not_kept(kind: str, tmp_path: Path) -> None:
    broken = untrained("meso4", 32)
    broken.model.get_layer("logit").set_weights(
        [np.full_like(w, np.nan) for w in broken.model.layers[-2].get_weights()]
    )
    with pytest.raises(ModelError, match=rf"the {kind} model differs from deepfake_model.h5 by nan, so it is not kept"):
        export(broken, kind, tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_left_alone(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DeepfakeError, match="is there already: remove it, or give another --out"):
        export(detector, "tflite", tmp_path)
    with pytest.raises(DeepfakeError, match="cannot be written: "):
        export(detector, "tflite", tmp_path / "notes.txt" / "below")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("notes.txt", "mine")]


@pytest.mark.skipif(bool(find_spec("tf2onnx")), reason="it is installed")
def test_onnx_says_what_it_needs(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(DeepfakeError, match="needs two more packages: pip install tf2onnx onnxruntime"):
        export(detector, "onnx", tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []


def test_the_command(finished_run: dict, session_home: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    done = run(app, ["export", "best:validation/auc", "--format", "tflite", "--out", str(tmp_path / "phone")])
    assert done.output.splitlines()[0] == str(tmp_path / "phone" / "deepfake_model.tflite")
    assert "before calibration: temperature" in done.output

    folder = session_home / "mlruns" / "exports" / f"cnn-{finished_run['run_id'][:8]}-savedmodel"
    run(app, ["export", "champion", "--format", "savedmodel"], catch_exceptions=False)
    assert (folder / "deepfake_model" / "saved_model.pb").is_file()
    assert run(app, ["export", "champion", "--format", "tf"]).exit_code == 2
