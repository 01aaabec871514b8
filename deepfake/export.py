"""A detector's network in the formats of other runtimes: written, read back, compared with the `.h5`, only then kept.

Keras does the writing. What is written takes raw 0-255 RGB, float32, any number of images, and gives P(fake) before
calibration, as the `.h5` alone does: `models.scoring.temper` says how it is calibrated.
"""

import logging
import tempfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import TypeAdapter

from deepfake.data.images import square
from deepfake.detector import CARD_FILE, MODEL_FILE, Card, Detector
from deepfake.errors import DeepfakeError, ModelError
from deepfake.models.scoring import scorer

if TYPE_CHECKING:
    import keras

# By what a person types: what Keras calls the format, and the end of the file's name; a SavedModel is a folder.
FORMATS = {"tflite": ("litert", ".tflite"), "onnx": ("onnx", ".onnx"), "savedmodel": ("tf_saved_model", "")}
PICTURES = 64
TOLERANCE = 1e-4

Predict = Callable[[np.ndarray], np.ndarray]


def export(detector: Detector, kind: str, to: Path) -> Path:
    """Write a detector's network in another format, and `detector.json` beside it.

    Args:
        detector: The detector.
        kind: One of `FORMATS`.
        to: A folder that is not there yet; it appears when all in it is whole.

    Returns:
        The path of the network in it.

    Raises:
        ModelError: If what is read back differs from the `.h5` by more than `TOLERANCE`; nothing is left then.
        DeepfakeError: If the folder is there or cannot be made, a package is missing, or the format lacks a layer.
    """
    keras_name, suffix = FORMATS[kind]
    if to.exists():
        raise DeepfakeError(f"{to} is there already: remove it, or give another --out")
    if kind == "onnx" and not all(map(find_spec, ("tf2onnx", "onnxruntime"))):
        raise DeepfakeError("--format onnx needs two more packages: pip install tf2onnx onnxruntime")
    if kind != "savedmodel" and any(type(layer).__name__ == "Resizing" for layer in detector.model.layers):
        raise DeepfakeError(
            f"--format {kind} has no way to shrink pictures without aliasing, as this ensemble of several image sizes "
            "does: export it as savedmodel, or average runs of one dataset.image_size"
        )
    file = Path(MODEL_FILE).stem + suffix
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{to.name}.partial-", dir=to.parent) as scratch:
            folder = Path(scratch, to.name)
            folder.mkdir()
            _write(detector.model, keras_name, folder / file)
            _compare(detector.model, _read(kind, folder / file), kind)
            (folder / CARD_FILE).write_bytes(TypeAdapter(Card).dump_json(detector.card, indent=2))
            folder.rename(to)
    except OSError as error:
        raise DeepfakeError(f"{to} cannot be written: {error.strerror or error}") from None
    return to / file


def _write(model: "keras.Model", keras_name: str, path: Path) -> None:
    import tensorflow as tf

    taken = tf.TensorSpec(model.input_shape, tf.float32, "image")
    # Else Keras also allows TensorFlow's own operations, which a phone does not have.
    options = {"target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}} if keras_name == "litert" else {}
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # it prints tracebacks of optimisations that it then omits
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of NumPy, in Keras's patch of tf2onnx
        model.export(path, format=keras_name, verbose=False, input_signature=[taken], **options)


def _compare(model: "keras.Model", predict: Predict, kind: str) -> None:
    images = _pictures(model.input_shape[1])
    parts = [images[:1], *np.array_split(images[1:], 9)]  # one image, and batches of several
    found = np.concatenate([predict(part.astype(np.float32))[:, 0] for part in parts])
    difference = float(np.max(np.abs(found - scorer(model)(images))))
    if not difference <= TOLERANCE:
        raise ModelError(f"the {kind} model differs from {MODEL_FILE} by {difference:.2g}, so it is not kept")


def _pictures(size: int) -> np.ndarray:
    """Draw noise of all grains, from one colour for the whole picture to one for each pixel, and of all contrasts."""
    random = np.random.default_rng(0)
    pictures = []
    for number in range(PICTURES):
        side = max(1, size >> number % 8)
        low, high = np.sort(random.integers(0, 256, 2))
        pictures.append(square(random.integers(low, high + 1, (side, side, 3), dtype=np.uint8), size, "squash"))
    return np.stack(pictures)


def _read(kind: str, path: Path) -> Predict:
    return {"tflite": _read_tflite, "onnx": _read_onnx, "savedmodel": _read_savedmodel}[kind](path)


def _read_tflite(path: Path) -> Predict:
    import tensorflow as tf

    with warnings.catch_warnings(action="ignore", category=UserWarning):  # it is to move to a package of its own
        interpreter = tf.lite.Interpreter(model_path=str(path))
    taken, given = (
        details[0]["index"] for details in (interpreter.get_input_details(), interpreter.get_output_details())
    )

    def predict(images: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(taken, images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(taken, images)
        interpreter.invoke()
        return interpreter.get_tensor(given)

    return predict


def _read_onnx(path: Path) -> Predict:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {session.get_inputs()[0].name: images})[0]


def _read_savedmodel(path: Path) -> Predict:
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    return lambda images: loaded.serve(images).numpy()
