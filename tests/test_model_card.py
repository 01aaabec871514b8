"""The model card says what the detector's own numbers say, and where they end."""

import re
from dataclasses import replace
from pathlib import Path

import yaml
from huggingface_hub import ModelCard

from deepfake.detector import Card
from deepfake.model_card import model_card

NAMES = ("auc", "average_precision", "eer", "balanced_accuracy", "accuracy_real", "accuracy_fake")
METRICS = dict.fromkeys(NAMES, 0.8125)
CARD = Card(
    class_names=["Real", "Fake"],
    input_size=64,
    resize="squash",
    threshold=0.4321,
    model="cnn",
    data={
        "name": "faces",
        "fingerprint": "f00d",
        "counts": {"Train": {"Real": 1200, "Fake": 1100}, "Test": {"Real": 30, "Fake": 40}},
        "findings": ["Train has 1200 images of Real"],
    },
    metrics={"validation": METRICS, "test": METRICS | {"auc": 0.7654, "eer": None}},
    run_id="0123abcd",
    created="2026-11-25T10:00:00+00:00",
    versions={"keras": "3.15.1"},
    temperature=1.7,
    unsure=(0.25, 0.75),
    settings={"optimizer.name": "adam", "evaluation.also": ["/data/a|b"]},
    intervals={"test": {"auc": [0.7, 0.83]}},
    calibration={
        "ece": {"test": (0.12, 0.04)},
        "band": {"certainty": 0.9, "supported": True, "reason": "", "test_right": 0.913, "test_coverage": 0.55},
    },
    robustness={"scalar": 0.934, "auc": {"jpeg": [[90, 0.76], [30, 0.7]]}},
    sets=[{"name": "elsewhere", "images": 2000, **METRICS, "auc": 0.56, "auc_low": 0.55, "auc_high": 0.58}],
    explanation={"ratio": 2.5, "top": 1.0, "random": 0.4, "share": 0.8, "images": 64},
)


def test_every_number_of_the_detector_is_there_with_its_interval() -> None:
    text = model_card(CARD, "deepfake-detector")
    for told in (
        "| AUC | 0.812 | 0.765 (0.700 to 0.830) |",
        "| equal error rate | 0.812 | - |",
        "| elsewhere | 2,000 | 0.560 (0.550 to 0.580) |",
        "Temperature 1.700",
        "0.120 before, 0.040 after",
        "On Test 91.3% were, and 55.0% of the images got a verdict",
        "as a share of that on clean ones: 0.934",
        "| jpeg | 90: 0.760, 30: 0.700 |",
        "away from the verdict by 1.000 on average, hiding as much elsewhere by 0.400; by more in 80.0%",
        "| Train | 1,200 | 1,100 |",
        "Train has 1200 images of Real",
        "| `optimizer.name` | `adam` |",
        "not evidence",
        "terms of the images they were trained on (faces)",
    ):
        assert told in text


def test_hugging_face_reads_its_front_matter() -> None:
    card = ModelCard(model_card(CARD, "deepfake-detector"))
    assert card.data.library_name == "keras"
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.license == "other"
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found["roc_auc"] == 0.7654
    front = model_card(CARD, "deepfake-detector").split("---")[1]
    assert yaml.safe_load(front)["model-index"][0]["name"] == "deepfake-detector"


def test_tables_keep_their_columns() -> None:
    """A cell with a bar in it does not break its row."""
    for table in re.findall(r"(?:^\|.*\n)+", model_card(CARD, "x"), re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1


def test_what_was_not_measured_has_no_section() -> None:
    old = replace(
        CARD, intervals={}, calibration={}, robustness=None, sets=[], explanation={}, settings={}, unsure=None
    )
    text = model_card(old, "x")
    assert "## Robustness" not in text
    assert "## On other images" not in text
    assert "## Heat maps" not in text
    assert "| AUC | 0.812 | 0.765 |" in text


def test_a_band_that_validation_does_not_support_is_told() -> None:
    band = {"certainty": 0.9, "supported": False, "reason": "nothing is right 90 % of the time"}
    assert "nothing is right 90 % of the time" in model_card(replace(CARD, calibration={"band": band}), "x")


def test_a_model_of_drawn_faces_says_so() -> None:
    text = model_card(replace(CARD, data=CARD.data | {"name": "synthetic"}), "x")
    assert "It knows nothing of real deepfakes" in text
    assert "license: mit" in text


def test_the_card_travels_with_the_registered_model(finished_run: dict) -> None:
    from deepfake import registry

    text = (Path(registry.fetch("1")) / "model_card.md").read_text()
    assert f"run `{finished_run['run_id']}`" in text
    assert f"| AUC | {finished_run['metrics']['validation/auc']:.3f} (" in text
