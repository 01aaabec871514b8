"""The runs: list them, average them, compare two of them."""

import csv
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape

from deepfake.console import duration, err, number, out, table
from deepfake.errors import DeepfakeError

app = typer.Typer(help="The runs: list them, average them, compare two of them.")

RUN_HELP = "A run's id or its first characters, its version or an alias."
WIDE = 100  # characters of a terminal that has room for one more column
SPLITS = ("validation", "test")
FEW = 3  # settings that have a column each
WHERE_HELP = "Only runs like `augmentation=heavy`, `test/auc>0.7`, `seed!=3`; may be given again."


@app.callback(invoke_without_command=True)
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


@app.command("compare")
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
        "validation/auc": lambda row: number(row["metrics"].get("validation/auc")),
        "test/auc": lambda row: number(row["metrics"].get("test/auc")),
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
    shown = duration if name == "seconds" else number
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
    for split in SPLITS:
        for metric in dict.fromkeys(name.partition("/")[2] for name in names if name.startswith(SPLITS)):
            a, b = (row["metrics"].get(f"{split}/{metric}") for row in pair)
            apart = "" if a is None or b is None else f"{b - a:+.4f}"
            cells.setdefault(metric, [metric.replace("_", " ")]).extend([number(a), number(b), apart])
    table("", ["", "val A", "val B", "B - A", "test A", "test B", "B - A"], list(cells.values()))


def _status(row: dict[str, Any]) -> str:
    return " ".join(filter(None, (row["status"].lower(), row["version"] and f"version {row['version']}", row["alias"])))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else "null" if value == "None" else str(value)


def _settings(row: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in row["overrides"].items()) or row["name"]
