"""The models: choose the champion, predict, evaluate."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from deepfake.config import compose
from deepfake.console import err, metrics_table, number, out, table
from deepfake.errors import DeepfakeError, ImageError

MODEL_HELP = "A path, an MLflow URI, a version number, an alias or a run id."


def promote(which: Annotated[str, typer.Argument(help="A version number, an alias or a run id.")]) -> None:
    """Make a version the champion, which the app serves."""
    from deepfake import registry

    version = registry.promote(which)
    out.print(f"{registry.MODEL_NAME} version {version} is the champion now.")


def predict(
    paths: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = "champion",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV.")] = False,
) -> None:
    """Say of each image whether it looks real or fake."""
    files = list(_images(paths))
    if not files:
        raise DeepfakeError(f"no images in {', '.join(map(str, paths))}")
    detector = _load(model)
    rows = (_row(path, outcome) for path, outcome in zip(files, detector.predict_each(files), strict=True))
    if as_json:
        for row in rows:
            print(json.dumps(row))
        return
    if as_csv:
        writer = csv.DictWriter(sys.stdout, ["path", "p_fake", "verdict", "threshold", "error"])
        writer.writeheader()
        writer.writerows(rows)
        return
    fake = detector.card.class_names[1]
    shown = [[r["path"], number(r["p_fake"]), r["verdict"] or r["error"]] for r in rows]
    table("", ["image", f"P({fake.lower()})", "verdict"], shown)
    out.print(f"Threshold {detector.card.threshold:.3f}. A probability, not evidence: it can be wrong.")


def evaluate(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    overrides: Annotated[list[str], typer.Argument(help="As for run.py: dataset=folder dataset.root=DIR ...")],
    split: Annotated[str, typer.Option(help="Test, Validation, Train, or all images.")] = "Test",
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Measure any model on any labelled images, at the model's own threshold."""
    from deepfake.config import SPLITS
    from deepfake.data import load_splits
    from deepfake.evaluation.metrics import compute

    wanted = {name.lower(): (name,) for name in SPLITS} | {"all": SPLITS}
    if split.lower() not in wanted:
        raise DeepfakeError(f"--split {split}: should be one of {', '.join(SPLITS)}, all")
    settings = compose(overrides).dataset
    detector = _load(model)
    settings = replace(settings, image_size=detector.card.input_size, resize=detector.card.resize)
    data = load_splits(settings, wanted[split.lower()])
    import numpy as np

    labels = np.concatenate([part.labels for part in data.splits.values()])
    scores = np.concatenate([detector.score(part.images) for part in data.splits.values()])
    metrics = compute(labels, scores, detector.card.threshold)
    if as_json:
        print(json.dumps({"images": len(labels), "fingerprint": data.fingerprint, **metrics}, indent=2))
        return
    title = (
        f"{detector.card.model} on {data.name}, {split}: {len(labels)} images, threshold {detector.card.threshold:.3f}"
    )
    metrics_table(title, {split: metrics})


def _load(model: str) -> Any:
    from deepfake import registry
    from deepfake.detector import Detector

    return Detector.load(registry.fetch(model))


def _images(paths: Iterable[Path]) -> Iterator[Path]:
    from deepfake.data.images import SUFFIXES

    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        elif path.exists():
            yield path
        else:
            raise DeepfakeError(f"{path} is not there")


def _row(path: Path, outcome: Any) -> dict[str, Any]:
    if isinstance(outcome, ImageError):
        err.print(f"{path}: {outcome}", markup=False, style="yellow")
        return {"path": str(path), "p_fake": None, "verdict": None, "threshold": None, "error": str(outcome)}
    return {
        "path": str(path),
        "p_fake": round(outcome.p_fake, 6),
        "verdict": outcome.verdict,
        "threshold": round(outcome.threshold, 6),
        "error": None,
    }
