"""What visitors read."""

import csv
import io
from base64 import b64decode
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from deepfake.detector import Card, Prediction
from deepfake.errors import ImageError
from deepfake.page import answer
from deepfake.page.answer import Looked, Row
from deepfake.page.pictures import View

CARD = Card(
    class_names=["Real", "Fake"],
    input_size=8,
    resize="squash",
    threshold=0.5,
    model="cnn",
    data={"name": "faces", "counts": {"Train": {"Real": 1000, "Fake": 1200}}},
    metrics={"validation": {}, "test": {"balanced_accuracy": 0.8}},
    run_id="a run",
    created="2026-01-01T00:00:00Z",
    versions={},
)


def prediction(p_fake: float, verdict: str) -> Prediction:
    return Prediction(p_fake, verdict, 0.5, unsure=(0.4, 0.6))


def looked(p_fake: float, verdict: str, name: str = "Whole picture") -> Looked:
    view = View(np.zeros((8, 8, 3), np.uint8), np.zeros((20, 40, 3), np.uint8))
    return Looked(name, view, prediction(p_fake, verdict), np.eye(8, dtype=np.float32))


def text_of(html: str) -> str:
    return " ".join("".join(ElementTree.fromstring(f"<a>{html}</a>".replace(" checked>", ">")).itertext()).split())


@pytest.mark.parametrize(
    ("p_fake", "verdict", "sign", "style"),
    [(0.9, "Fake", "✕", "df-fake"), (0.1, "Real", "✓", "df-real"), (0.45, "Unsure", "?", "df-unsure")],
)
def test_a_verdict_speaks_by_word_sign_and_colour(p_fake: float, verdict: str, sign: str, style: str) -> None:
    html = answer.result([looked(p_fake, verdict)], CARD, [])
    assert f'class="df-verdict {style}"' in html
    assert f">{sign}</span><strong>{verdict}</strong>" in html
    assert f"<b>{p_fake:.1%}</b>" in html
    assert f"<b>{1 - p_fake:.1%}</b>" in html


def test_what_is_not_certain_does_not_look_it() -> None:
    html = answer.result([looked(0.99996, "Fake")], CARD, [])
    assert "> 99.9%" in html
    assert "< 0.1%" in html
    assert "100.0%</b>" not in html


def test_the_pictures_lie_within_the_page_and_keep_their_proportions() -> None:
    html = answer.result([looked(0.9, "Fake")], CARD, [])
    assert "aspect-ratio: 40 / 20" in html
    assert html.count('src="data:image/') == 2
    assert "http" not in html


def test_a_face_is_offered_beside_the_whole_picture_and_shown_first() -> None:
    html = answer.result([looked(0.2, "Real"), looked(0.9, "Fake", "Face")], CARD, [])
    assert html.count('type="radio"') == 2
    assert html.index("checked") > html.index("Whole picture")
    assert "fills little of the picture" in html


def test_a_note_is_shown() -> None:
    assert answer.ANIMATED in answer.result([looked(0.9, "Fake")], CARD, [answer.ANIMATED])


def test_a_program_gets_the_same() -> None:
    told = answer.as_json([looked(0.9, "Fake"), looked(0.2, "Real", "Face")], CARD, ["a note"], "a model")
    assert told["verdict"] == "Fake"
    assert told["confidences"] == pytest.approx({"Real": 0.1, "Fake": 0.9})
    assert told["heat_map"].startswith("data:image/png;base64,")
    assert told["notes"] == ["a note"]
    assert told["model"] == "a model"
    assert told["face"]["verdict"] == "Real"
    assert answer.as_json([looked(0.9, "Fake")], CARD, [], "a model")["face"] is None


def test_many_become_a_table_and_a_file_for_a_spreadsheet() -> None:
    rows = [
        Row("a.jpg", prediction(0.9, "Fake"), "a note"),
        Row("<b>.jpg", ImageError("an empty file")),
        Row("=cmd().jpg", prediction(0.45, "Unsure")),
    ]
    html = answer.table(rows, CARD)
    assert "&lt;b&gt;.jpg" in html
    assert "<b>.jpg" not in html
    saved = b64decode(html.split("base64,")[1].split('"')[0]).decode()
    found = list(csv.DictReader(io.StringIO(saved)))
    assert [row["verdict"] for row in found] == ["Fake", "", "Unsure"]
    assert float(found[0]["p_fake"]) == 0.9
    assert found[1]["note"] == "an empty file"
    assert found[2]["file"] == "'=cmd().jpg"  # which a spreadsheet would run as a formula


def test_a_problem_is_shown_as_text() -> None:
    assert "&lt;script&gt;" in answer.problem("<script>")


def test_two_lines_say_what_the_model_is_worth_and_where_it_fails() -> None:
    first, second = answer.about(CARD, "model 3").splitlines()
    assert "**model 3**" in first
    assert "2,200 images of faces" in first
    assert "right on 80%" in first
    assert "fails on fakes made in ways that it has not seen" in second
    assert "not evidence" in second


def test_they_say_how_often_it_gives_a_verdict_and_where_it_was_worst() -> None:
    band = {"supported": True, "test_right": 0.94, "test_coverage": 0.78}
    sets = [{"name": "other", "balanced_accuracy": 0.55}, {"name": "easy", "balanced_accuracy": 0.9}]
    first, second = answer.about(replace(CARD, calibration={"band": band}, sets=sets), "m").splitlines()
    assert "gave a verdict on 78%, and 94% of these verdicts were right" in first
    assert "on other it was right on 55%" in second


def test_drawn_faces_are_called_so() -> None:
    first, second = answer.about(replace(CARD, data=CARD.data | {"name": "synthetic"}), "m").splitlines()
    assert "2,200 drawn faces" in first
    assert "knows nothing of real deepfakes" in second
