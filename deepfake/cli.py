"""The commands of `python -m deepfake`."""

import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from deepfake.config import compose, home
from deepfake.console import complain, duration, err, metrics_table, out, table
from deepfake.errors import DeepfakeError, ImageError

app = typer.Typer(
    help="Train with `python run.py`; look at, choose and use what it made with these commands.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cache = typer.Typer(help="The decoded images of all data sets: list them, remove them.")
app.add_typer(cache, name="cache")
runs = typer.Typer(help="The runs: list them, average them, compare two of them.")
app.add_typer(runs, name="runs")

MODEL_HELP = "A path, an MLflow URI, a version number, an alias or a run id."
RUN_HELP = "A run's id or its first characters, its version or an alias."
WIDE = 100  # characters of a terminal that has room for one more column
FEW = 3  # settings that have a column each
WHERE_HELP = "Only runs like `augmentation=heavy`, `test/auc>0.7`, `seed!=3`; may be given again."


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


@runs.callback(invoke_without_command=True)
def list_runs(
    context: typer.Context,
    experiment: Annotated[str | None, typer.Option(help="Only this MLflow experiment.")] = None,
    sweep: Annotated[str | None, typer.Option(help="Only the jobs of this sweep: its id, or `last`.")] = None,
    where: Annotated[list[str] | None, typer.Option(help=WHERE_HELP)] = None,
    sort: Annotated[str | None, typer.Option(help="By a setting, or by a metric, best first.")] = None,
    by: Annotated[str | None, typer.Option(help="Averages, by settings: `augmentation,model`.")] = None,
    seeds: Annotated[bool, typer.Option("--seeds", help="Averages over seeds.")] = False,
    limit: Annotated[int, typer.Option(help="At most this many; 0 for all.", min=0)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: every setting and metric.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV: every setting and metric.")] = False,
) -> None:
    """List the runs, best validation AUC first."""
    if context.invoked_subcommand is not None:
        return
    from deepfake import leaderboard

    if by and seeds:
        raise DeepfakeError("--by and --seeds both say what to average over: choose one")
    found = leaderboard.keep(leaderboard.rows(experiment, sweep), where or [])
    if by or seeds:
        measured = leaderboard.AUCS if sort is None else _measured_too(found, sort)
        names = [name.strip() for name in (by or "").split(",")]
        found = leaderboard.over_seeds(found, measured) if seeds else leaderboard.group(found, names, measured)
    found = leaderboard.order(found, sort) if sort else found
    shown = found[: limit or None]
    if as_json:
        print(json.dumps(shown, indent=2))
    elif as_csv:
        _write_csv(_group_records(shown) if by or seeds else _run_records(shown))
    elif not found:
        chosen = experiment or sweep or where
        out.print("No runs are like that." if chosen else "No runs yet: `python run.py` makes one.")
    else:
        table("", *(_group_table(shown) if by or seeds else _run_table(shown, sort)))
    if len(shown) < len(found):
        note = err if as_json or as_csv else out
        note.print(f"{len(shown)} of {len(found)} {'groups' if by or seeds else 'runs'}; --limit 0 for all")


@runs.command("compare")
def compare_runs(
    a: Annotated[str, typer.Argument(help=RUN_HELP, show_default=False)],
    b: Annotated[str, typer.Argument(help="Another run.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Say in what two runs differ, and whether one is better by more than chance."""
    from deepfake import leaderboard

    everything = leaderboard.rows()
    pair = [leaderboard.pick(everything, which) for which in (a, b)]
    names = sorted({name for row in pair for name in row["metrics"] if not name.startswith("epoch/")})
    try:
        interval, refusal = leaderboard.compare(*pair), None
    except DeepfakeError as error:
        interval, refusal = None, str(error)
    if as_json:
        told = {
            "runs": [row["run_id"] for row in pair],
            "settings": {key: [row["params"].get(key) for row in pair] for key in leaderboard.differing(pair)},
            "metrics": {name: [row["metrics"].get(name) for row in pair] for name in names},
            "test_auc": asdict(interval) | {"verdict": interval.verdict} if interval else {"refused": refusal},
        }
        print(json.dumps(told, indent=2))
        return
    for letter, row in zip("AB", pair, strict=True):
        out.print(f"{letter}  {row['run_id'][:8]}  {escape(_settings(row))}  [dim]{_status(row)}[/dim]")
    _show_differences(pair)
    if names:
        _show_metrics(pair, names)
    out.print(f"Test AUC: {interval.verdict if interval else 'no interval, ' + str(refusal)}", markup=False)
    if interval:
        out.print("[dim]It speaks of these two models; another seed would make others: `runs --seeds`.[/dim]")


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


def _measured_too(rows: Sequence[dict[str, Any]], sort: str) -> list[str]:
    """Return the metrics to average: the usual ones, and that to sort by if it is one."""
    from deepfake.leaderboard import AUCS, full_name

    key = full_name(rows, sort) if rows else ""
    measured = key == "seconds" or any(key in row["metrics"] for row in rows)
    return list(dict.fromkeys([*AUCS, key] if measured else AUCS))


def _run_table(rows: Sequence[dict[str, Any]], sort: str | None) -> tuple[list[str], list[list[str]]]:
    from deepfake.leaderboard import full_name, value

    cells: dict[str, Callable[[dict[str, Any]], str]] = {
        "run_id": lambda row: row["run_id"][:8],
        "name": lambda row: escape(_settings(row)),
        "validation/auc": lambda row: _number(row["metrics"].get("validation/auc")),
        "test/auc": lambda row: _number(row["metrics"].get("test/auc")),
        "seconds": lambda row: "" if row["seconds"] is None else duration(row["seconds"]),
        "status": lambda row: row["status"].lower(),
        "version": lambda row: " ".join(filter(None, (row["version"], row["alias"]))),
        "sweep": lambda row: (row["sweep"] or "")[:8],
        "start": lambda row: f"{datetime.fromtimestamp(row['start'] / 1000):%Y-%m-%d %H:%M}",
    }
    shown = ["run_id", "name", "validation/auc", "test/auc", "seconds", "status"]
    shown += ["version"] if any(row["version"] for row in rows) else []
    shown += ["sweep"] if any(row["sweep"] for row in rows) and out.width >= WIDE else []
    key = full_name(rows, sort) if sort else "name"
    if key not in (*shown, "alias") and not all(_heading(key) in row["overrides"] for row in rows):
        shown.insert(2, key)
        cells.setdefault(key, lambda row: escape(_cell(value(row, key))))
    return [_heading(name) for name in shown], [[cells[name](row) for name in shown] for row in rows]


def _group_table(groups: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return columns and cells: a column a setting, or, if they are many, all of them in one."""
    settings, metrics = [_heading(key) for key in groups[0]["params"]], list(groups[0]["metrics"])
    together = len(settings) > FEW
    cells = []
    for row in groups:
        values = [escape(_cell(value)) for value in row["params"].values()]
        if together:
            values = [" ".join(f"{key}={value}" for key, value in zip(settings, values, strict=True) if value)]
        cells.append([*values, str(row["runs"]), *(_mean(row, name) for name in metrics)])
    return [*(["settings"] if together else settings), "runs", *map(_heading, metrics)], cells


def _heading(name: str) -> str:
    """Return what a table calls a column: `augmentation` for `augmentation.name`, `val AUC` for `validation/auc`."""
    titles = {"run_id": "run", "name": "settings", "seconds": "time"}
    titles |= {"validation/auc": "val AUC", "test/auc": "test AUC"}
    return titles.get(name, name.removesuffix(".name"))


def _mean(group: dict[str, Any], name: str) -> str:
    shown = duration if name == "seconds" else _number
    return " ± ".join(shown(value) for value in (group["metrics"][name], group["sd"][name]) if value is not None)


def _run_records(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    fields = ("run_id", "name", "status", "start", "seconds", "version", "alias", "sweep", "job")
    params, metrics = (sorted({key for row in rows for key in row[kind]}) for kind in ("params", "metrics"))
    return [
        {field: row[field] for field in fields}
        | {"start": datetime.fromtimestamp(row["start"] / 1000, UTC).isoformat(timespec="seconds")}
        | {key: row["params"].get(key) for key in params}
        | {key: row["metrics"].get(key) for key in metrics}
        for row in rows
    ]


def _group_records(groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        row["params"] | {"runs": row["runs"]} | row["metrics"] | {f"{name} sd": sd for name, sd in row["sd"].items()}
        for row in groups
    ]


def _write_csv(records: Sequence[dict[str, Any]]) -> None:
    if records:
        writer = csv.DictWriter(sys.stdout, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def _show_differences(pair: Sequence[dict[str, Any]]) -> None:
    from deepfake.leaderboard import differing, folded

    rows = [folded(row) for row in pair]
    names = sorted(differing(rows), key=_heading)
    if not names:
        out.print("\nTheir settings are the same.")
        return
    cells = [[_heading(name), *(escape(_cell(row["params"].get(name))) for row in rows)] for name in names]
    table("", ["setting", "A", "B"], cells)


def _show_metrics(pair: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Print the metrics of both runs, a row a metric: Validation, then Test, each with the difference."""
    cells: dict[str, list[str]] = {}
    for split in ("validation", "test"):
        for metric in dict.fromkeys(name.partition("/")[2] for name in names):
            a, b = (row["metrics"].get(f"{split}/{metric}") for row in pair)
            apart = "" if a is None or b is None else f"{b - a:+.4f}"
            cells.setdefault(metric, [metric.replace("_", " ")]).extend([_number(a), _number(b), apart])
    table("", ["", "val A", "val B", "B - A", "test A", "test B", "B - A"], list(cells.values()))


def _status(row: dict[str, Any]) -> str:
    return " ".join(filter(None, (row["status"].lower(), row["version"] and f"version {row['version']}", row["alias"])))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else "null" if value == "None" else str(value)


def _settings(row: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in row["overrides"].items()) or row["name"]


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
