"""All that is measured of a trained model: what Validation decides, and then what it is worth."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfake.config import Evaluation
from deepfake.data.dataset import Split
from deepfake.evaluation import calibration, explain, robustness, sets
from deepfake.evaluation.calibration import Band, Held
from deepfake.evaluation.explain import Deletion
from deepfake.evaluation.metrics import choose_threshold
from deepfake.evaluation.robustness import Robustness
from deepfake.evaluation.sets import Measured
from deepfake.models.scoring import scorer, temper

if TYPE_CHECKING:
    import keras

EXPLAINED = 32  # images of each class whose heat maps are checked


@dataclass(frozen=True)
class Assessment:
    """What was decided on Validation, and measured.

    Attributes:
        raw: P(fake) as the model gives it, by split, (N,) floats.
        scores: The same after calibration.
        temperature: That calibrates, of Validation.
        threshold: Of the calibrated P(fake), of Validation.
        band: In which the verdict is Unsure, of Validation.
        held: What became of it on Test.
        measured: A row for Validation, for Test, and for each other data set.
        ece: Expected calibration error by split, before and after.
        robustness: Of Test; None where it was not asked for.
        deletion: Whether the heat maps mean something, on Test.
    """

    raw: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]
    temperature: float
    threshold: float
    band: Band
    held: Held
    measured: list[Measured]
    ece: dict[str, tuple[float, float]]
    robustness: Robustness | None
    deletion: Deletion

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """The metrics of Validation and Test."""
        return {row.name: row.metrics for row in self.measured[: len(self.scores)]}


def assess(
    model: "keras.Model", splits: Mapping[str, Split], also: Mapping[str, Split], settings: Evaluation, seed: int
) -> Assessment:
    """Decide what Validation decides, and measure the model.

    Args:
        model: The trained model, in float32.
        splits: `Validation` and `Test`.
        also: Other labelled images, by name.
        settings: What to measure.
        seed: Of what is drawn at random.

    Returns:
        Everything that was found.
    """
    score = scorer(model)
    validation, test = splits["Validation"], splits["Test"]
    raw = {name: score(split.images) for name, split in splits.items()}
    temperature = calibration.fit_temperature(validation.labels, raw["Validation"])
    scores = {name: temper(values, temperature) for name, values in raw.items()}
    threshold = choose_threshold(validation.labels, scores["Validation"])
    band = calibration.choose_band(validation.labels, scores["Validation"], threshold, settings.certainty)

    def calibrated(images: np.ndarray) -> np.ndarray:
        return temper(score(images), temperature)

    everything = scores | {name: calibrated(split.images) for name, split in also.items()}
    of = {**splits, **also}
    return Assessment(
        raw=raw,
        scores=scores,
        temperature=temperature,
        threshold=threshold,
        band=band,
        held=calibration.check_band(test.labels, scores["Test"], band),
        measured=[
            sets.measure(name, of[name].labels, values, of[name].groups, threshold)
            for name, values in everything.items()
        ],
        ece={name: (_error(splits[name], raw[name]), _error(splits[name], scores[name])) for name in splits},
        robustness=_robustness(calibrated, threshold, test, settings, seed) if settings.robustness else None,
        deletion=explain.check(model, test, scores["Test"] >= threshold, EXPLAINED, seed),
    )


def for_card(assessment: Assessment) -> dict[str, Any]:
    """Return what a detector's card keeps of an assessment, by the card's field."""
    band, held = assessment.band, assessment.held
    return {
        "threshold": assessment.threshold,
        "temperature": assessment.temperature,
        "unsure": (band.low, band.high),
        "metrics": {name.lower(): metrics for name, metrics in assessment.metrics.items()},
        "intervals": {row.name.lower(): row.intervals for row in assessment.measured[: len(assessment.scores)]},
        "calibration": {
            "ece": {name.lower(): errors for name, errors in assessment.ece.items()},
            "band": asdict(band) | {f"test_{name}": value for name, value in held._asdict().items()},
        },
        "robustness": _robustness_for_card(assessment.robustness),
        "sets": [_row_for_card(row) for row in assessment.measured[len(assessment.scores) :]],
        "explanation": asdict(assessment.deletion),
    }


def for_record(assessment: Assessment) -> dict[str, dict[str, float]]:
    """Return the numbers by which runs are looked for and compared, by their group: `validation`, `test`, ..."""
    found: dict[str, dict[str, float]] = {}
    for row in assessment.measured[: len(assessment.scores)]:
        before, after = assessment.ece[row.name]
        found[row.name.lower()] = {**_numbers(row), "ece_before": before, "ece": after}
    for row in assessment.measured[len(assessment.scores) :]:
        found[f"also/{plain_name(row.name)}"] = _numbers(row)
    found["unsure"] = {"right": assessment.held.right, "coverage": assessment.held.coverage}
    found["explanation"] = {"ratio": assessment.deletion.ratio, "share": assessment.deletion.share}
    if assessment.robustness:
        found["robustness"] = {"auc_ratio": assessment.robustness.scalar}
    return found


def plain_name(name: str) -> str:
    """Return a data set's name as a part of a metric's or a file's name: without slashes and other special signs."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_.")


def conclusions(assessment: Assessment, class_names: Sequence[str]) -> list[str]:
    """Say in a line each what the tables do not say.

    Args:
        assessment: What was found.
        class_names: Of the negative and the positive class.

    Returns:
        The lines.
    """
    test = assessment.measured[1]
    low, high = test.intervals["auc"]
    lines = [f"Test AUC {test.metrics['auc']:.3f}, 95 % interval {low:.3f} to {high:.3f}"]
    if test.by_group and test.by_group_intervals:
        low, high = test.by_group_intervals["auc"]
        lines[0] += f"; of its {test.groups} groups {test.by_group['auc']:.3f}, {low:.3f} to {high:.3f}"
    before, after = assessment.ece["Test"]
    lines.append(f"Calibration error on Test {before:.3f}, {after:.3f} with temperature {assessment.temperature:.2f}")
    band, held = assessment.band, assessment.held
    if band.reason:
        lines.append(f"Unsure: {band.reason}")
    if band.supported:
        lines.append(
            f"Unsure from P({class_names[1].lower()}) {band.low:.3f} to {band.high:.3f}: {held.right:.1%} of the other "
            f"verdicts are right on Test ({band.certainty:.0%} asked), {held.coverage:.0%} of the images get one"
        )
    lines.append(
        f"Heat maps: hiding what they mark costs more than hiding as much elsewhere in "
        f"{assessment.deletion.share:.0%} of the pictures (chance: 50%)"
    )
    if assessment.robustness:
        lines.append(f"Robustness: {assessment.robustness.scalar:.3f} of the clean AUC is left on degraded images")
    return lines


def _numbers(row: Measured) -> dict[str, float]:
    low, high = row.intervals["auc"]
    of_groups = {"group_auc": row.by_group["auc"]} if row.by_group else {}
    return row.metrics | {"auc_low": low, "auc_high": high} | of_groups


def _error(split: Split, scores: np.ndarray) -> float:
    return calibration.expected_calibration_error(split.labels, scores)


def _robustness(
    score: Callable[[np.ndarray], np.ndarray], threshold: float, test: Split, settings: Evaluation, seed: int
) -> Robustness:
    limit = settings.robustness_images
    return robustness.measure(score, test.images, test.labels, threshold, limit=limit, seed=seed)


def _robustness_for_card(found: Robustness | None) -> dict[str, Any] | None:
    if found is None:
        return None
    auc: dict[str, list[tuple[float, float]]] = {}
    for one in found.degraded:
        auc.setdefault(one.kind, []).append((one.strength, one.metrics["auc"]))
    return {"scalar": found.scalar, "auc": auc}


def _row_for_card(row: Measured) -> dict[str, Any]:
    low, high = row.intervals["auc"]
    return {"name": row.name, "images": row.images, **row.metrics, "auc_low": low, "auc_high": high}
