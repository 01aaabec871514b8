"""The model card: what a detector is, how good it is and where it fails, as Markdown, written from its numbers alone.

The sections are those of Mitchell et al. 2019, "Model Cards for Model Reporting", as far as a run can answer them; the
front matter is that of Hugging Face, which lists and searches models by it.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deepfake.detector import CARD_FILE, MODEL_FILE, Card, telling

MODEL_CARD_FILE = "model_card.md"
METRICS = {
    "auc": "AUC",
    "average_precision": "average precision",
    "eer": "equal error rate",
    "balanced_accuracy": "balanced accuracy",
    "accuracy_real": "accuracy on {0}",
    "accuracy_fake": "accuracy on {1}",
}
HUB = {"auc": "roc_auc", "balanced_accuracy": "balanced_accuracy", "average_precision": "average_precision"}

LIMITS = """\
- Detectors fail on generators and swaps that they have not seen: expect far less than the numbers above.
- Strong compression, small faces, filters and edits change the score; so do faces unlike those of the training images.
- P(fake) depends on how many fakes there were among the Validation images. Where fakes are rarer, more of the verdicts
  "{fake}" are wrong.
- A verdict is a probability, not evidence. Do not judge a person or publish an accusation by it."""


@telling()
def model_card(card: Card, name: str) -> str:
    """Write the model card of a detector.

    Args:
        card: The detector's card.
        name: What to call the model.

    Returns:
        Markdown with Hugging Face's front matter.

    Raises:
        ModelError: If the card does not hold what a run writes.
    """
    sections = [
        f"---\n{_front_matter(card, name)}\n---",
        f"# {name}",
        _summary(card),
        "## Use\n\n" + _use(card),
        "## Data\n\n" + _data(card),
        "## Metrics\n\n" + _metrics(card),
        _other_sets(card),
        _robustness(card),
        "## Calibration\n\n" + _calibration(card),
        _explanation(card),
        "## Limits\n\n" + LIMITS.format(fake=card.class_names[1]),
        "## Training\n\n" + _training(card),
        "## Licence\n\n" + _licence(card),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _front_matter(card: Card, name: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    data_name = str(card.data["name"])
    where: dict[str, Any] = {"dataset_type": data_name, "dataset_name": data_name, "dataset_split": "test"}
    test = card.metrics["test"]
    results = [
        EvalResult(task_type="image-classification", metric_type=kind, metric_value=round(value, 4), **where)
        for key, kind in HUB.items()
        if (value := test.get(key)) is not None and not math.isnan(value)
    ]
    other = {"license": "other", "license_name": "see-licence-below"}
    licence: dict[str, Any] = {"license": "mit"} if card.drawn else other
    return ModelCardData(
        **licence,
        library_name="keras",
        pipeline_tag="image-classification",
        tags=["deepfake-detection", "image-classification", card.model],
        model_name=name,
        eval_results=results or None,
    ).to_yaml()


def _network(card: Card) -> str:
    networks = card.settings.get("model.networks")  # of an ensemble
    if not networks:
        return f"the network `{card.model}`"
    named = ", ".join(f"{count} `{name}`" for name, count in Counter(networks).items())
    return f"the average of {len(networks)} networks ({named})"


def _summary(card: Card) -> str:
    real, fake = card.class_names
    text = (
        f"Says of a face image whether it looks {real} or {fake}: {_network(card)}, trained on "
        f"{card.data['name']}, {card.created[:10]}, run `{card.run_id}`."
    )
    if card.drawn:
        text += "\n\n**Trained on faces drawn by code. It knows nothing of real deepfakes.**"
    return text


def _use(card: Card) -> str:
    return f"""\
    from deepfake import Detector
    Detector.load("FOLDER").predict("face.jpg")

FOLDER holds `{MODEL_FILE}` and `{CARD_FILE}`. The `.h5` takes RGB of 0 to 255, {card.input_size} x {card.input_size}
(resize: {card.resize}), and gives P({card.class_names[1].lower()}) before calibration. After it, the verdict from
{card.threshold:.4f} on is {card.class_names[1]}."""


def _data(card: Card) -> str:
    counts = card.data["counts"]
    rows = [[split, *(f"{counts[split][name]:,}" for name in card.class_names)] for split in counts]
    text = _table(["split", *card.class_names], rows) + f"\n\nFingerprint of the images: `{card.data['fingerprint']}`."
    for finding in card.data.get("findings", ()):
        text += f"\n- {finding}"
    return text


def _metrics(card: Card) -> str:
    rows = [
        [label.format(*card.class_names), *(_with_interval(card, split, key) for split in ("validation", "test"))]
        for key, label in METRICS.items()
    ]
    note = "In brackets: 95 % intervals by bootstrap over the images, or over their groups where these are known."
    return _table(["", "Validation", "Test"], rows) + "\n\n" + note


def _other_sets(card: Card) -> str:
    if not card.sets:
        return ""
    rows = [
        [row["name"], f"{row['images']:,}", _bracketed(row["auc"], row.get("auc_low"), row.get("auc_high"))]
        + [_short(row[key]) for key in ("balanced_accuracy", "accuracy_real", "accuracy_fake")]
        for row in card.sets
    ]
    real, fake = card.class_names
    head = ["images", "number", "AUC", "balanced accuracy", f"on {real}", f"on {fake}"]
    return "## On other images\n\n" + _table(head, rows)


def _robustness(card: Card) -> str:
    if not card.robustness:
        return ""
    kinds: Mapping[str, Sequence[Sequence[float]]] = card.robustness["auc"]
    rows = [[kind, ", ".join(f"{strength:g}: {auc:.3f}" for strength, auc in pairs)] for kind, pairs in kinds.items()]
    text = f"Mean AUC on degraded Test images, as a share of that on clean ones: {card.robustness['scalar']:.3f}."
    return f"## Robustness\n\n{text}\n\n" + _table(["degradation", "strength: AUC"], rows)


def _calibration(card: Card) -> str:
    found = card.calibration
    lines = [f"Temperature {card.temperature:.3f}, fitted on Validation (Guo et al. 2017)."]
    for split, (before, after) in found.get("ece", {}).items():
        lines.append(
            f"Expected calibration error on {split.capitalize()}: {_short(before)} before, {_short(after)} after."
        )
    band = found.get("band")
    if band and card.unsure and band["supported"]:
        lines.append(
            f"Between P(fake) {card.unsure[0]:.3f} and {card.unsure[1]:.3f} the verdict is Unsure, so that "
            f"{band['certainty']:.0%} of the others should be right. On Test {_percent(band['test_right'])} were, and "
            f"{_percent(band['test_coverage'])} of the images got a verdict."
        )
    elif band:
        lines.append(f"Unsure: {band['reason']}.")
    return "\n".join(f"- {line}" for line in lines)


def _explanation(card: Card) -> str:
    found = card.explanation
    if not found:
        return ""
    return (
        "## Heat maps\n\nHiding the fifth of a picture that the heat map marks moves the logit away from the verdict "
        f"by {_short(found['top'])} on average, hiding as much elsewhere by {_short(found['random'])}; by more in "
        f"{_percent(found['share'])} of {found['images']} pictures (50 % would be chance)."
    )


def _training(card: Card) -> str:
    rows = [[f"`{key}`", f"`{value}`"] for key, value in card.settings.items() if value is not None]
    versions = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    return (_table(["setting", ""], rows) + "\n\n" if rows else "") + f"Made with {versions}."


def _licence(card: Card) -> str:
    text = "The code is under the MIT licence."
    if not card.drawn:
        text += (
            f" What the weights may be used for depends also on the terms of the images they were trained on "
            f"({card.data['name']}), which this card does not know."
        )
    return text


def _with_interval(card: Card, split: str, key: str) -> str:
    low, high = card.intervals.get(split, {}).get(key, (None, None))
    return _bracketed(card.metrics[split].get(key), low, high)


def _bracketed(value: float | None, low: float | None, high: float | None) -> str:
    text = _short(value)
    return text if low is None or high is None else f"{text} ({_short(low)} to {_short(high)})"


def _short(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.1%}"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
