"""A detector: the model's `.h5`, and `detector.json` beside it, which holds every number that goes with the model.

This is all that the app and a Space need of the project: no Hydra, no MLflow.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from deepfake import threads
from deepfake.data.images import from_pil, read, square
from deepfake.errors import ImageError, ModelError, one_line
from deepfake.evaluation.heatmap import Examine, examiner, heat
from deepfake.models import h5
from deepfake.models.scoring import pool, scorer, temper

if TYPE_CHECKING:
    import keras

MODEL_FILE = "deepfake_model.h5"
CARD_FILE = "detector.json"
UNSURE = "Unsure"
CHUNK = 128
LONGEST_CARD = 2**24  # bytes; one has a thousandth

ImageLike = str | Path | bytes | np.ndarray | Image.Image


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError("the low end lies above the high one")
    return ends


def _whole(framing: dict[str, float]) -> dict[str, float]:
    if set(framing) != {"size", "x", "y", "found"}:
        raise ValueError("should be size, x, y and found")
    return framing


Probability = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Span = Annotated[tuple[Probability, Probability], AfterValidator(_rising)]


@checked_dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class Card:
    """What goes with a model.

    Attributes:
        class_names: Of the negative and the positive class.
        input_size: Side in pixels of the square that the model takes.
        resize: How a picture becomes that square.
        threshold: Calibrated P(fake) at or above which the verdict is the positive class; chosen on Validation.
        model: Name of the architecture.
        data: The training data's `name`, `fingerprint` and `counts` by split and class.
        metrics: `validation` and `test`, each a dict of metrics.
        run_id: The MLflow run that made it.
        created: UTC time, ISO 8601.
        versions: Of the packages it was made with.
        sha256: Of the `.h5`.
        temperature: By which the log-odds of the model's output are divided to make P(fake); fitted on Validation.
        unsure: Lowest and highest P(fake), both included, at which the verdict is Unsure; (0, 1) where none can be
            given, null where one always is.
        settings: The configuration of the run, for a page that shows how the model was made.
        intervals: By split, then metric: the low and the high end of its confidence interval.
        calibration: How far P(fake) can be trusted: calibration errors, and whether the band of Unsure held on Test.
        robustness: How metrics fall as Test images are degraded; null where it was not measured.
        sets: Of each other labelled set that it was measured on, a dict of what it is and the metrics.
        explanation: How much more than chance its heat maps mark.
        framing: How faces lay in the training pictures (see `data.faces.Framing`); null where too few were found.
    """

    class_names: Annotated[list[str], Field(min_length=2, max_length=2)]
    input_size: Annotated[int, Field(ge=1, le=4096)]
    resize: Literal["squash", "crop", "pad"]
    threshold: Probability
    model: str
    data: dict[str, Any]
    metrics: dict[str, dict[str, float | None]]
    run_id: str
    created: str
    versions: dict[str, str]
    sha256: str = ""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    unsure: Span | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    intervals: dict[str, dict[str, Any]] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    robustness: dict[str, Any] | None = None
    sets: list[dict[str, Any]] = field(default_factory=list)
    explanation: dict[str, Any] = field(default_factory=dict)
    framing: Annotated[dict[str, Finite], AfterValidator(_whole)] | None = None

    @property
    def drawn(self) -> bool:
        """Whether it learnt from the embedded data set, which is drawn by code."""
        return self.data["name"] == "synthetic"


@dataclass(frozen=True)
class Prediction:
    """What a detector says of one image, or of several that were judged together.

    Attributes:
        p_fake: Calibrated probability of the positive class, 0 to 1; of several views, the mean.
        verdict: Name of the class, or `UNSURE`.
        threshold: P(fake) from which the image is rather of the positive class, whatever the verdict.
        spread: Standard deviation of P(fake) over the views of the image, 0 where it is looked at once; or over the
            images that were judged together.
        unsure: Lowest and highest P(fake) at which the verdict is Unsure; None where it never is.
    """

    p_fake: float
    verdict: str
    threshold: float
    spread: float = 0.0
    unsure: tuple[float, float] | None = None

    def reason(self, fake: str) -> str:
        """Say in a sentence why the verdict is what it is; `fake` is the name of the positive class."""
        text = f"As this model sees it, the chance that the picture is {fake.lower()} is {percent(self.p_fake)}"
        if self.verdict != UNSURE or self.unsure is None:
            return f"{text}; from {self.threshold:.1%} on it says {fake}."
        low, high = self.unsure
        return f"{text}; from {low:.1%} to {high:.1%} it has not been right often enough to say."


@contextmanager
def telling() -> Iterator[None]:
    """Make one line of what a card lacks, or holds in another form than a run writes it, where it is told to people."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        missing = f" lacks {one_line(error)}" if isinstance(error, KeyError) else f": {one_line(error)}"
        raise ModelError(f"{CARD_FILE}{missing}: a card as a run writes it tells of its data and metrics") from error


def percent(share: float) -> str:
    """Write a share, 0 to 1, so that what is not certain does not look it."""
    return "> 99.9%" if 0.9995 <= share < 1 else "< 0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


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


Measure = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


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
        self._score = _probabilities(scorer(model, card.temperature))
        self._measure: Measure = self._look_once

    @classmethod
    def load(cls, source: str | Path) -> "Detector":
        """Check and load a detector.

        Args:
            source: A folder with the two files, the path of the `.h5` with the other beside it, or an MLflow URI like
                `models:/deepfake-detector@champion`.

        Returns:
            The detector.

        Raises:
            ModelError: If a file is missing, damaged, or holds anything but weights and allowed layers; if the model
                cannot judge pictures of black, of white and of noise.
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
        detector = cls(h5.load(path, card.input_size), card)
        detector.score(_trial(card.input_size))
        return detector

    def with_views(self) -> "Detector":
        """Return the same detector, which looks at every image in several views (see `evaluation.views`).

        P(fake) is their mean. The verdict is Unsure also where the views disagree so much that their spread reaches
        into the band of Unsure. It takes as many times longer as there are views, and it needs OpenCV.
        """
        from deepfake.evaluation.views import over_views

        twin = copy(self)
        twin._measure = over_views(self._score)
        return twin

    def score(self, images: np.ndarray) -> np.ndarray:
        """Compute calibrated P(fake) of prepared images.

        Args:
            images: Shape (N, size, size, 3), uint8 RGB, as of `prepare`; it may be mapped from the disk.

        Returns:
            Shape (N,), float64.
        """
        return self._measure(images)[0]

    def predict(self, image: ImageLike) -> Prediction:
        """Judge one image.

        Args:
            image: A path, a file's bytes, an array (H, W, 3) uint8 RGB, or a Pillow image.

        Returns:
            The prediction.

        Raises:
            ImageError: If it is not a readable image.
        """
        return next(self._judge(self.prepare(image)[None]))

    def predict_many(self, images: Iterable[ImageLike]) -> list[Prediction]:
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

    def judge_together(self, scores: Sequence[float]) -> Prediction:
        """Judge images that show the same, like the frames of a video, by what was found of each.

        Threshold and band of Unsure are those of single images. How far the images differ is told as the spread, but
        makes no verdict Unsure: a head turns, and its frames are no views of one picture.

        Args:
            scores: P(fake) of each, as of `predict`; at least one.

        Returns:
            Their prediction, of the P(fake) that `scoring.pool` makes of theirs.
        """
        return replace(self._judge_one(pool(scores), 0.0), spread=float(np.std(scores)))

    def explain(self, images: np.ndarray) -> tuple[list[Prediction], np.ndarray]:
        """Judge prepared images, and show what their verdicts rest on, in one pass.

        Args:
            images: Shape (N, size, size, 3), uint8 RGB, as of `prepare`, N of 1 or more.

        Returns:
            Their predictions, as of `predict`, and a heat map of each, shape (N, size, size), float32, 0 to 1, of what
            speaks for the class that P(fake) is nearer to (see `evaluation.heatmap`).
        """
        scores, evidence = self._examine(images)
        scores = temper(scores, self.card.temperature)
        predictions = [self._judge_one(p_fake, 0.0) for p_fake in scores.tolist()]
        return predictions, heat(evidence, scores >= self.card.threshold, self.card.input_size)

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
        judged = self._judge(np.stack(readable)) if readable else iter(())
        for item in prepared:
            yield item if isinstance(item, ImageError) else next(judged)

    def _judge(self, images: np.ndarray) -> Iterator[Prediction]:
        for p_fake, spread in zip(*(found.tolist() for found in self._measure(images)), strict=True):
            yield self._judge_one(p_fake, spread)

    def _judge_one(self, p_fake: float, spread: float) -> Prediction:
        return Prediction(p_fake, self._verdict(p_fake, spread), self.card.threshold, spread, self.card.unsure)

    @cached_property
    def _examine(self) -> Examine:
        try:
            return _probabilities(examiner(self.model))
        except (ValueError, AttributeError, KeyError) as error:
            raise ModelError(f"the model's verdicts cannot be explained ({type(error).__name__})") from error

    def _verdict(self, p_fake: float, spread: float) -> str:
        band = self.card.unsure
        if band and p_fake + spread >= band[0] and p_fake - spread <= band[1]:
            return UNSURE
        return self.card.class_names[int(p_fake >= self.card.threshold)]

    def _look_once(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores = self._score(images)
        return scores, np.zeros(len(scores))


def _read_card(path: Path) -> Card:
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_CARD + 1)
    except FileNotFoundError:
        raise ModelError(f"{path} is not there: a detector is a folder with {MODEL_FILE} and {CARD_FILE}") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > LONGEST_CARD:
        raise ModelError(f"{path} is longer than {LONGEST_CARD:,} bytes, and no detector's card")
    try:
        return TypeAdapter(Card).validate_json(content)
    except ValidationError as error:
        detail = error.errors()[0]
        where = one_line(".".join(map(str, detail["loc"])) or "content")
        raise ModelError(f"{path}: {where}: {detail['msg']}") from None


def _probabilities(score: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], Any]:
    """Let a model's pass fail with a line for a person, and when what it gives is no probability.

    The weights of a damaged model can be such that it looks up what is not there, or computes with infinities.
    """

    def checked(images: np.ndarray) -> Any:
        try:
            found = score(images)
        except ModelError:
            raise
        except Exception as error:  # TensorFlow's errors are of many kinds
            raise ModelError(
                f"the model cannot judge a picture ({type(error).__name__}): it is damaged, or too large"
            ) from error
        scores = found[0] if isinstance(found, tuple) else found
        if not ((scores >= 0) & (scores <= 1)).all():
            raise ModelError("the model is damaged: what it gives for a picture is no probability")
        return found

    return checked


def _trial(size: int) -> np.ndarray:
    """Return pictures that tell whether a model can judge any: black, white and noise."""
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return np.stack([np.zeros_like(noise), np.full_like(noise, 255), noise])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
