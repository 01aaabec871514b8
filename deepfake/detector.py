"""A detector: the model's `.h5`, and `detector.json` beside it, which holds every number that goes with the model.

This is all that the app and a Space need of the project: no Hydra, no MLflow.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from deepfake import quiet, threads
from deepfake.data.images import from_pil, read, square
from deepfake.errors import ImageError, ModelError
from deepfake.models.scoring import scorer

if TYPE_CHECKING:
    import keras

MODEL_FILE = "deepfake_model.h5"
CARD_FILE = "detector.json"
CHUNK = 128

# Stock layers that compute with their weights and nothing else: no Lambda, no wrapper of other layers.
ALLOWED_LAYERS = frozenset(
    (
        "Activation Add Average AveragePooling2D BatchNormalization Concatenate Conv2D Cropping2D Dense DepthwiseConv2D"
        " Dropout ELU Flatten Functional GlobalAveragePooling2D GlobalMaxPooling2D GroupNormalization InputLayer "
        "LayerNormalization LeakyReLU MaxPooling2D Maximum Multiply Normalization PReLU ReLU Rescaling Reshape Resizing"
        " SeparableConv2D Sequential Softmax SpatialDropout2D Subtract UpSampling2D ZeroPadding2D"
    ).split(" ")
)

ImageLike = str | Path | bytes | np.ndarray | Image.Image


@checked_dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class Card:
    """What goes with a model.

    Attributes:
        class_names: Of the negative and the positive class.
        input_size: Side in pixels of the square that the model takes.
        resize: How a picture becomes that square.
        threshold: P(fake) at or above which the verdict is the positive class; chosen on Validation.
        model: Name of the architecture.
        data: The training data's `name`, `fingerprint` and `counts` by split and class.
        metrics: `validation` and `test`, each a dict of metrics.
        run_id: The MLflow run that made it.
        created: UTC time, ISO 8601.
        versions: Of the packages it was made with.
        sha256: Of the `.h5`.
    """

    class_names: Annotated[list[str], Field(min_length=2, max_length=2)]
    input_size: Annotated[int, Field(ge=1, le=4096)]
    resize: Literal["squash", "crop", "pad"]
    threshold: Annotated[float, Field(ge=0, le=1)]
    model: str
    data: dict[str, Any]
    metrics: dict[str, dict[str, float | None]]
    run_id: str
    created: str
    versions: dict[str, str]
    sha256: str = ""


@dataclass(frozen=True)
class Prediction:
    """What a detector says of one image.

    Attributes:
        p_fake: Probability of the positive class, 0 to 1.
        verdict: Name of the class.
        threshold: P(fake) from which the verdict is the positive class.
    """

    p_fake: float
    verdict: str
    threshold: float


def write(folder: Path, model: "keras.Model", card: Card) -> Card:
    """Write a detector's two files.

    Args:
        folder: Where; it is made.
        model: A float32 model of stock layers.
        card: What goes with it, without the hash.

    Returns:
        The card with the hash.
    """
    from absl import logging

    folder.mkdir(parents=True, exist_ok=True)
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # Keras calls the format legacy at every save; it is this project's format
    model.save(folder / MODEL_FILE, include_optimizer=False)
    logging.set_verbosity(before)
    card = replace(card, sha256=_sha256(folder / MODEL_FILE))
    (folder / CARD_FILE).write_bytes(TypeAdapter(Card).dump_json(card, indent=2))  # nan becomes null
    return card


class Detector:
    """A loaded model with its card.

    Example:
        >>> detector = Detector.load("models:/deepfake-detector@champion")
        >>> detector.predict("face.jpg").verdict
        'Fake'
    """

    def __init__(self, model: "keras.Model", card: Card) -> None:
        self.model = model
        self.card = card
        self.score = scorer(model)

    @classmethod
    def load(cls, source: str | Path) -> "Detector":
        """Check and load a detector.

        Args:
            source: A folder with the two files, the path of the `.h5` with the other beside it, or an MLflow URI like
                `models:/deepfake-detector@champion`.

        Returns:
            The detector.

        Raises:
            ModelError: If a file is missing, damaged, or holds anything but weights and allowed layers.
        """
        if str(source).startswith(("models:/", "runs:/")):
            from deepfake.registry import fetch  # only here: without a URI nothing of MLflow is needed

            source = fetch(str(source))
        folder = Path(source)
        folder = folder if folder.is_dir() else folder.parent
        card = _read_card(folder / CARD_FILE)
        path = folder / MODEL_FILE
        if not path.is_file():
            raise ModelError(f"{path} is not there")
        if _sha256(path) != card.sha256:
            raise ModelError(f"{path} is not the file that {CARD_FILE} was written for (its SHA-256 differs)")
        return cls(_load_model(path, card), card)

    def predict(self, image: ImageLike) -> Prediction:
        """Judge one image.

        Args:
            image: A path, a file's bytes, an array (H, W, 3) uint8 RGB, or a Pillow image.

        Returns:
            The prediction.

        Raises:
            ImageError: If it is not a readable image.
        """
        return self._judge(self.score(self.prepare(image)[None])[0])

    def predict_many(self, images: Sequence[ImageLike]) -> list[Prediction]:
        """Judge images, in batches.

        Args:
            images: Each as `predict` takes it.

        Returns:
            A prediction for each, in the same order.

        Raises:
            ImageError: If one is not a readable image.
        """
        outcomes = []
        for outcome in self.predict_each(images):
            if isinstance(outcome, ImageError):
                raise outcome
            outcomes.append(outcome)
        return outcomes

    def predict_each(self, images: Iterable[ImageLike]) -> Iterator[Prediction | ImageError]:
        """Judge images one after another, in batches, past those that cannot be read.

        Args:
            images: Each as `predict` takes it; any number.

        Yields:
            For each image its prediction, or what is wrong with it.
        """
        images = iter(images)
        with ThreadPoolExecutor(threads.count()) as pool:
            ahead: Iterator[np.ndarray | ImageError] = iter(())
            while chunk := list(islice(images, CHUNK)):
                prepared, ahead = list(ahead), pool.map(self._try_prepare, chunk)  # decodes while the model computes
                yield from self._judge_all(prepared)
            yield from self._judge_all(list(ahead))

    def prepare(self, image: ImageLike) -> np.ndarray:
        """Decode an image and fit it into the model's square.

        Args:
            image: As `predict` takes it.

        Returns:
            Pixels, shape (size, size, 3), uint8.

        Raises:
            ImageError: If it is not a readable image.
        """
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
                raise ImageError(f"an array should be (H, W, 3) uint8 RGB; this one is {image.shape} {image.dtype}")
            pixels = image
        else:
            pixels = from_pil(image) if isinstance(image, Image.Image) else read(image)
        return square(pixels, self.card.input_size, self.card.resize)

    def _try_prepare(self, image: ImageLike) -> np.ndarray | ImageError:
        try:
            return self.prepare(image)
        except ImageError as error:
            return error

    def _judge_all(self, prepared: list[np.ndarray | ImageError]) -> Iterator[Prediction | ImageError]:
        readable = [item for item in prepared if not isinstance(item, ImageError)]
        scores = iter(self.score(np.stack(readable)) if readable else ())
        for item in prepared:
            yield item if isinstance(item, ImageError) else self._judge(next(scores))

    def _judge(self, score: float) -> Prediction:
        verdict = self.card.class_names[int(score >= self.card.threshold)]
        return Prediction(float(score), verdict, self.card.threshold)


def _read_card(path: Path) -> Card:
    try:
        return TypeAdapter(Card).validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"{path} is not there: a detector is a folder with {MODEL_FILE} and {CARD_FILE}") from None
    except ValidationError as error:
        detail = error.errors()[0]
        raise ModelError(f"{path}: {'.'.join(map(str, detail['loc'])) or 'content'}: {detail['msg']}") from None


def _load_model(path: Path, card: Card) -> "keras.Model":
    _check_layers(path)
    quiet.import_tensorflow()
    import keras

    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a damaged file can break the reader anywhere
        raise ModelError(f"{path} cannot be loaded ({type(error).__name__})") from error
    expected = (None, card.input_size, card.input_size, 3)
    if model.input_shape != expected or model.output_shape != (None, 1):
        raise ModelError(f"{path} maps {model.input_shape} to {model.output_shape}, not {expected} to (None, 1)")
    return model


def _check_layers(path: Path) -> None:
    """Refuse a model that holds anything but allowed layers, before anything in it is built."""
    import h5py

    try:
        with h5py.File(path) as file:
            config = json.loads(file.attrs["model_config"])
    except (OSError, KeyError, ValueError):
        raise ModelError(f"{path} is not a whole Keras .h5 model") from None
    for name, module in [(config.get("class_name"), "keras"), *_objects(config)]:
        package, _, kind = module.partition(".")
        is_layer = (not kind or "layers" in kind or "models" in kind) and name != "DTypePolicy"
        if package != "keras" or (is_layer and name not in ALLOWED_LAYERS):
            raise ModelError(f"{path} holds {name} of {module}, which is not allowed: only stock layers are")


def _objects(tree: Any) -> Iterator[tuple[Any, str]]:
    """Walk everything that Keras would build: class name and module; entries of a `layers` list may lack the module."""
    if isinstance(tree, dict):
        if "module" in tree:
            yield tree.get("class_name"), str(tree["module"])
        layers = tree.get("layers")
        for layer in layers if isinstance(layers, list) else []:
            yield layer.get("class_name") if isinstance(layer, dict) else layer, "keras.layers"
        tree = list(tree.values())
    if isinstance(tree, list):
        for item in tree:
            yield from _objects(item)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
