"""The commands of `python -m deepfake`."""

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from deepfake.config import compose, home
from deepfake.console import complain, err, metrics_table, out, table
from deepfake.errors import DeepfakeError, ImageError

app = typer.Typer(
    help="Train with `python run.py`; look at, choose and use what it made with these commands.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cache = typer.Typer(help="The decoded images of all data sets: list them, remove them.")
app.add_typer(cache, name="cache")

MODEL_HELP = "A path, an MLflow URI, a version number, an alias or a run id."


def main() -> None:
    """Run a command; what a person can mend is one line and exit code 1."""
    os.environ.setdefault("DEEPFAKE_HOME", str(home()))
    try:
        app()
    except DeepfakeError as error:
        complain(error)
        sys.exit(1)


@app.command()
def ui(port: Annotated[int, typer.Option(help="Port of the page.")] = 5000) -> None:
    """Open MLflow's page on every run and model."""
    from deepfake import tracking

    if not tracking.uri().startswith("sqlite:"):
        out.print(f"The tracking server has its own page: {tracking.uri()}")
        return
    tracking.client()  # makes the database if this is the first command ever
    out.print(f"MLflow on http://127.0.0.1:{port}  (Ctrl-C ends it)")
    command = ["mlflow", "ui", "--backend-store-uri", tracking.uri(), "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, [sys.executable, "-m", *command])


@app.command()
def runs(
    experiment: Annotated[str | None, typer.Option(help="Only this MLflow experiment.")] = None,
    limit: Annotated[int, typer.Option(help="At most this many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: every param and metric.")] = False,
) -> None:
    """List the runs, best validation AUC first."""
    from deepfake.registry import leaderboard

    found = leaderboard(experiment)[:limit]
    if as_json:
        print(json.dumps(found, indent=2))
        return
    if not found:
        out.print("No runs yet: `python run.py` makes one.")
        return
    rows = [
        [
            row["run_id"][:8],
            row["name"],
            *(_number(row["metrics"].get(name)) for name in ("validation/auc", "test/auc")),
            row["status"].lower(),
            " ".join(filter(None, (row["version"], row["alias"]))),
        ]
        for row in found
    ]
    table("", ["run", "model, augmentation, data", "val AUC", "test AUC", "status", "version"], rows)


@app.command()
def promote(which: Annotated[str, typer.Argument(help="A version number, an alias or a run id.")]) -> None:
    """Make a version the champion, which the app serves."""
    from deepfake import registry

    version = registry.promote(which)
    out.print(f"{registry.MODEL_NAME} version {version} is the champion now.")


@app.command()
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
    shown = [[r["path"], _number(r["p_fake"]), r["verdict"] or r["error"]] for r in rows]
    table("", ["image", f"P({fake.lower()})", "verdict"], shown)
    out.print(f"Threshold {detector.card.threshold:.3f}. A probability, not evidence: it can be wrong.")


@app.command(context_settings={"ignore_unknown_options": True})
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


@cache.callback(invoke_without_command=True)
def _show_by_default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        show()


@cache.command()
def show() -> None:
    """List the caches, the one used last first."""
    from deepfake.data.cache import default_folder, entries

    found = entries(default_folder())[::-1]
    if not found:
        out.print(f"No caches in {default_folder()}: the first run on a data set makes one.", markup=False)
        return
    rows = []
    for entry in found:
        what, used = ["unfinished or damaged", "", "", ""], ""
        if entry.root:
            what = [escape(entry.root), str(entry.images), str(entry.size), entry.resize]
            used = f"{datetime.fromtimestamp(entry.used):%Y-%m-%d %H:%M}"
        rows.append([entry.key[:8], *what, _megabytes(entry.taken), used])
    table("", ["key", "data set", "images", "px", "resize", "MB", "last used"], rows)
    total = _megabytes(sum(entry.taken for entry in found))
    out.print(f"{total} MB in {default_folder()}; `python -m deepfake cache clear` frees them.", markup=False)


@cache.command()
def clear(
    key: Annotated[str, typer.Argument(help="Only this one, by the beginning of its key.", show_default=False)] = "",
) -> None:
    """Remove the caches; the next run on a data set decodes it again."""
    from deepfake.data import cache as caches

    freed, kept = caches.clear(caches.default_folder(), key)
    for name in kept:
        out.print(f"{name[:8]} stays: a run is building it, or it may not be removed by you.")
    out.print(f"{_megabytes(freed)} MB freed.")


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


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
