"""What the page says: verdicts in words, signs, colours and a heat map, and what the model is worth."""

import base64
import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from uuid import uuid4

import numpy as np

from deepfake.detector import UNSURE, Card, Prediction, percent, telling
from deepfake.errors import ImageError
from deepfake.evaluation.heatmap import tint
from deepfake.page.pictures import View, data_uri

CAVEAT = "A probability, not evidence: it can be wrong, above all on pictures made in ways that it has not seen."
ANIMATED = "This file holds several pictures: only the first was looked at."
FIELDS = ("file", "verdict", "p_fake", "note")


@dataclass(frozen=True)
class Looked:
    """What the model says of a view.

    Attributes:
        name: What the view shows: `Whole picture` or `Face`.
        view: The view.
        prediction: The verdict on it.
        heat: (size, size), float32, 0 to 1: what speaks for the verdict.
    """

    name: str
    view: View
    prediction: Prediction
    heat: np.ndarray


@dataclass(frozen=True)
class Row:
    """A line of the table of many: a file's name, and what the model says of it or what is wrong with the file."""

    name: str
    outcome: Prediction | ImageError
    note: str = ""


def result(looks: Sequence[Looked], card: Card, notes: Sequence[str]) -> str:
    """Show what the model says of a picture.

    Args:
        looks: The views of it, of which the visitor sees one at a time, the last one first.
        card: The model's.
        notes: What else there is to say, a sentence each.

    Returns:
        HTML that needs nothing from elsewhere: pictures, the choice of view and the heat map's slider lie within it.
    """
    token = uuid4().hex[:8]  # two answers on one page must not share their controls
    last = len(looks) - 1
    choice = "".join(
        f'<input type="radio" class="df-choice" name="df-{token}" id="df-{token}-{i}" {"checked" if i == last else ""}>'
        f'<label for="df-{token}-{i}">{escape(look.name)}</label>'
        for i, look in enumerate(looks)
    )
    offer = f'<span class="df-offer">The face fills little of the picture. Look at:</span>{choice}' if last else ""
    said = "".join(f'<p class="df-note">{escape(note)}</p>' for note in notes)
    views = "".join(_view(look, card) for look in looks)
    return f'<section class="df-result df-views-{len(looks)}">{offer}{said}{views}</section>'


def problem(text: str) -> str:
    """Show what is wrong, in a sentence or two."""
    return (
        f'<section class="df-result df-problem" role="alert"><span aria-hidden="true">⚠</span> {escape(text)}</section>'
    )


def as_json(looks: Sequence[Looked], card: Card, notes: Sequence[str], name: str) -> dict[str, Any]:
    """Say the same to a program.

    Args:
        looks: The views, the whole picture first.
        card: The model's.
        notes: As of `result`.
        name: What the model is called.

    Returns:
        `verdict`, `p_fake`, `confidences` by class, `reason`, `heat_map` (a PNG as `data:` URI, transparent where it is
        cold), `notes`, `model`; and `face`, the first five for the face alone, or null.
    """
    whole, *face = [_as_json(look, card) for look in looks]
    return whole | {"notes": list(notes), "model": name, "face": face[0] if face else None}


def table(rows: Sequence[Row], card: Card) -> str:
    """Show the verdicts on many pictures as an HTML table, and a link that saves them as CSV."""
    head = "".join(
        f"<th scope='col'>{text}</th>"
        for text in ("Picture", "Verdict", f"Chance of {card.class_names[1].lower()}", "")
    )
    body = "".join(_line(row, card) for row in rows)
    saved = base64.b64encode(_csv(rows).encode()).decode()
    link = f'<a class="df-save" download="verdicts.csv" href="data:text/csv;base64,{saved}">Save as CSV</a>'
    return f'<div class="df-many"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{link}'


@telling()
def about(card: Card, name: str) -> str:
    """Say in two lines of Markdown what the model is, how good it is and where it fails."""
    total = sum(card.data["counts"]["Train"].values())
    learnt = f"{total:,} drawn faces" if card.drawn else f"{total:,} images of {card.data['name']}"
    lines = [f"**{name}**: the network `{card.model}`, which learnt from {learnt}. {_worth(card)}", _weakness(card)]
    return "  \n".join(lines)


def _view(look: Looked, card: Card) -> str:
    prediction = look.prediction
    real, fake = card.class_names
    kind, sign = _kind(prediction, card)
    bars = _bar(real, 1 - prediction.p_fake, "real") + _bar(fake, prediction.p_fake, "fake")
    height, width = look.view.shown.shape[:2]
    heat = data_uri(tint(look.heat[None])[0])
    return (
        '<div class="df-view">'
        f'<div class="df-verdict df-{kind}"><span class="df-sign" aria-hidden="true">{sign}</span>'
        f"<strong>{escape(prediction.verdict)}</strong></div>"
        f'<div class="df-bars">{bars}</div>'
        f'<p class="df-reason">{escape(prediction.reason(fake))}</p>'
        '<figure class="df-figure" style="--heat: 0.7">'
        f'<div class="df-picture" style="aspect-ratio: {width} / {height}">'
        f'<img class="df-shown" alt="The picture as the model sees it" src="{data_uri(look.view.shown)}">'
        f'<img class="df-heat" alt="Heat map: bright where the verdict comes from" src="{heat}"></div>'
        '<label class="df-slider">Heat map <input type="range" min="0" max="1" step="0.05" value="0.7" '
        "oninput=\"this.closest('figure').style.setProperty('--heat', this.value)\"></label>"
        f"<figcaption>Bright is what speaks for {escape(_leaning(prediction, card))}.</figcaption></figure></div>"
    )


def _kind(prediction: Prediction, card: Card) -> tuple[str, str]:
    """Return the verdict's style and its sign, so that it does not speak by colour alone."""
    if prediction.verdict == UNSURE:
        return "unsure", "?"
    return ("fake", "✕") if prediction.verdict == card.class_names[1] else ("real", "✓")


def _leaning(prediction: Prediction, card: Card) -> str:
    return card.class_names[int(prediction.p_fake >= prediction.threshold)]


def _bar(name: str, share: float, kind: str) -> str:
    fill = f'<span class="df-fill df-{kind}" style="width: {100 * share:.1f}%"></span>'
    return (
        f'<div class="df-bar"><span>{escape(name)}</span><span class="df-track" aria-hidden="true">{fill}</span>'
        f"<b>{percent(share)}</b></div>"
    )


def _as_json(look: Looked, card: Card) -> dict[str, Any]:
    prediction = look.prediction
    real, fake = card.class_names
    return {
        "verdict": prediction.verdict,
        "p_fake": prediction.p_fake,
        "confidences": {real: 1 - prediction.p_fake, fake: prediction.p_fake},
        "reason": prediction.reason(fake),
        "heat_map": data_uri(tint(look.heat[None])[0]),
    }


def _line(row: Row, card: Card) -> str:
    if isinstance(row.outcome, ImageError):
        said = f'<td colspan="2" class="df-note">{escape(str(row.outcome))}</td>'
    else:
        kind, sign = _kind(row.outcome, card)
        note = f'<br><span class="df-note">{escape(row.note)}</span>' if row.note else ""
        said = (
            f'<td><span class="df-tag df-{kind}"><span aria-hidden="true">{sign}</span> '
            f"{escape(row.outcome.verdict)}</span>{note}</td><td>{percent(row.outcome.p_fake)}</td>"
        )
    return f"<tr><th scope='row'>{escape(row.name)}</th>{said}</tr>"


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(FIELDS)
    for row in rows:
        name = f"'{row.name}" if row.name.startswith(("=", "+", "-", "@")) else row.name  # no formula for a spreadsheet
        if isinstance(row.outcome, ImageError):
            writer.writerow([name, "", "", row.outcome])
        else:
            writer.writerow([name, row.outcome.verdict, f"{row.outcome.p_fake:.6f}", row.note])
    return text.getvalue()


def _worth(card: Card) -> str:
    band = card.calibration.get("band") or {}
    right, coverage = band.get("test_right"), band.get("test_coverage")
    if band.get("supported") and _known(right) and _known(coverage):
        return (
            f"On test images of the same kind it gave a verdict on {coverage:.0%}, "
            f"and {right:.0%} of these verdicts were right."
        )
    balanced = card.metrics["test"]["balanced_accuracy"]
    return f"On test images of the same kind it is right on {balanced:.0%}, where guessing is right on 50%."


def _weakness(card: Card) -> str:
    if card.drawn:
        return "**It learnt from drawn faces alone and knows nothing of real deepfakes: try it, do not rely on it.**"
    others = [row for row in card.sets if _known(row.get("balanced_accuracy"))]
    text = "It fails on fakes made in ways that it has not seen, on strong compression, on small or covered faces"
    if others:
        worst = min(others, key=lambda row: row["balanced_accuracy"])
        text += f": on {worst['name']} it was right on {worst['balanced_accuracy']:.0%}"
    return f"{text}. {CAVEAT}"


def _known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)
