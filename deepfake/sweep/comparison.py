"""What came of a sweep: a table of its runs, mean and standard deviation over seeds, a plot for each factor."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from deepfake.console import out, table
from deepfake.sweep.record import JUDGED, SHOWN

SEED = "seed"
SPLITS = ("validation", "test")
RUN, POINT, BEST = "#8C8C8C", "#0072B2", "#D55E00"  # Okabe & Ito, "Color Universal Design" (2008)
COLUMNS = 3  # of panels
LINES = 12  # of the printed table
MANY = 6  # numbers from which a factor is drawn along an axis instead of as a list
ON_PAGE = (JUDGED, *(f"test/{name}" for name in ("auc", "balanced_accuracy", "eer", "accuracy_real", "accuracy_fake")))
STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em; color: #333; background: #fff; }
div { overflow-x: auto; margin: 0 0 2em; }
table { border-collapse: collapse; white-space: nowrap; }
th, td { padding: .25em .8em; text-align: right; border-bottom: 1px solid #ddd; }
td:first-child, th:first-child { text-align: left; }
img { max-width: 100%; }
"""


def tabulate(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Make one table of a sweep's runs, best validation AUC first.

    Args:
        rows: Of `leaderboard.rows`.

    Returns:
        A row a run: job, run_id, status, seconds; under `override.KEY` what differs; every metric, every setting.
    """
    flat = [
        {key: row[key] for key in ("job", "run_id", "status", "seconds")}
        | {f"override.{key}": _value(value) for key, value in row["overrides"].items()}
        | row["metrics"]
        | row["params"]
        for row in rows
    ]
    runs = pd.DataFrame(flat)
    for metric in (JUDGED, SHOWN):
        if metric not in runs:
            runs[metric] = np.nan
    return runs.sort_values(JUDGED, ascending=False, na_position="last", ignore_index=True)


def _value(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def over_seeds(runs: pd.DataFrame, factors: Sequence[str]) -> pd.DataFrame:
    """Average the runs that differ in nothing but their seed.

    Args:
        runs: Of `tabulate`.
        factors: What differs between the runs.

    Returns:
        A row for each combination of the factors other than the seed, best first: their values, `runs`, and mean and
        sample standard deviation (nan for one run) of the AUC on Validation and on Test.
    """
    finished = runs[runs[JUDGED].notna()]
    keys = [f"override.{key}" for key in factors if key != SEED and f"override.{key}" in finished]
    groups = finished.groupby(keys, dropna=False, sort=False) if keys else finished.groupby(lambda _: 0)
    averaged = groups.agg(
        runs=(JUDGED, "size"),
        validation_mean=(JUDGED, "mean"),
        validation_sd=(JUDGED, "std"),
        test_mean=(SHOWN, "mean"),
        test_sd=(SHOWN, "std"),
    )
    averaged = averaged.reset_index(drop=not keys).rename(columns=lambda name: name.removeprefix("override."))
    return averaged.sort_values("validation_mean", ascending=False, ignore_index=True)


def draw_factors(runs: pd.DataFrame, factors: Sequence[str]) -> matplotlib.figure.Figure:
    """Draw the AUC on Validation against each thing that differs between the runs.

    Args:
        runs: Of `tabulate`.
        factors: What differs.

    Returns:
        A panel for each factor: a grey dot for each run, a mark at the mean of each value, the best run on top.
    """
    drawn = [key for key in factors if f"override.{key}" in runs] or [SEED]
    rows = -(-len(drawn) // COLUMNS)
    figure = matplotlib.figure.Figure((4.2 * min(len(drawn), COLUMNS), 3.4 * rows), dpi=110, layout="constrained")
    finished = runs[runs[JUDGED].notna()]
    first = None
    for place, key in enumerate(drawn, start=1):
        axes = figure.add_subplot(rows, min(len(drawn), COLUMNS), place, sharey=first)
        first = first or axes
        values = finished.get(f"override.{key}", pd.Series(0, finished.index))
        _draw_factor(axes, values, finished[JUDGED])
        axes.set_xlabel(key)
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("AUC on Validation")
    figure.legend(*_marks(figure.axes), loc="outside upper right", ncols=3, frameon=False)
    return figure


def _marks(panels: Sequence[Axes]) -> tuple[list[Any], list[str]]:
    named = {label: mark for axes in panels for mark, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    return list(named.values()), list(named)


def _draw_factor(axes: Axes, values: pd.Series, aucs: pd.Series) -> None:
    numeric = pd.api.types.is_numeric_dtype(values) and values.nunique() >= MANY
    if numeric:
        at = values
        if values.min() > 0 and values.max() / values.min() >= 20:
            axes.set_xscale("log")
    else:
        names = sorted(values.unique(), key=lambda value: (isinstance(value, str), value))
        at = values.map({name: number for number, name in enumerate(names)})
        axes.set_xticks(range(len(names)), [_short(name) for name in names], rotation=0 if len(names) < 5 else 45)
        axes.set_xlim(-0.6, len(names) - 0.4)
        means = aucs.groupby(at).mean()
        axes.plot(means.index, means, "_", color=POINT, markersize=18, markeredgewidth=2, label="mean")
    axes.plot(at, aucs, "o", color=RUN, alpha=0.7, markersize=5, label="run")
    best = aucs.idxmax()
    axes.plot(at[best], aucs[best], "*", color=BEST, markersize=12, label="best run")


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 16 else f"…{text[-15:]}"


def write(folder: Path, rows: Sequence[dict[str, Any]], factors: Sequence[str]) -> None:
    """Write the comparison: `runs.csv`, `over_seeds.csv`, `factors.png`, and `comparison.html` with all of them.

    Args:
        folder: Where.
        rows: Of `leaderboard.rows`; at least one with metrics.
        factors: What differs between them.
    """
    runs = tabulate(rows)
    averaged = over_seeds(runs, factors)
    runs.to_csv(folder / "runs.csv", index=False)
    averaged.to_csv(folder / "over_seeds.csv", index=False)
    picture = io.BytesIO()
    draw_factors(runs, factors).savefig(picture)
    (folder / "factors.png").write_bytes(picture.getvalue())
    chosen = [f"override.{key}" for key in factors if f"override.{key}" in runs]
    columns = [*("job", *chosen), *(column for column in ON_PAGE if column in runs), "seconds", "status", "run_id"]
    shown = runs[columns].rename(columns=lambda name: name.removeprefix("override."))
    page = [
        f"<!doctype html><meta charset=utf-8><title>Sweep</title><style>{STYLE}</style>",
        f"<h1>Comparison of {len(runs)} runs</h1>",
        "<p>Best AUC on Validation first; Test chooses nothing. All metrics and settings: runs.csv</p>",
        f"<h2>Mean and standard deviation over seeds</h2>{_html(averaged)}",
        f'<h2>AUC by factor</h2><img alt="AUC by factor" src="data:image/png;base64,{_base64(picture)}">',
        f"<h2>Runs</h2>{_html(shown)}",
    ]
    (folder / "comparison.html").write_text("\n".join(page), encoding="utf-8")


def show(rows: Sequence[dict[str, Any]], factors: Sequence[str]) -> None:
    """Print the averages over seeds, the best first."""
    averaged = over_seeds(tabulate(rows), factors)
    keys = [column for column in averaged if column in factors]
    lines = [
        [
            *(_short(row[key]) for key in keys),
            str(row["runs"]),
            *(_mean(row, split) for split in ("validation", "test")),
        ]
        for row in averaged.head(LINES).to_dict("records")
    ]
    table("", [*keys, "runs", "val AUC", "test AUC"], lines)
    if len(averaged) > LINES:
        out.print(f"The best {LINES} of {len(averaged)}; all of them: over_seeds.csv")


def _mean(row: dict[str, Any], split: str) -> str:
    spread = row[f"{split}_sd"]
    return f"{row[f'{split}_mean']:.4f}" + ("" if np.isnan(spread) else f" ± {spread:.4f}")


def _html(table: pd.DataFrame) -> str:
    return f"<div>{table.to_html(index=False, na_rep='', float_format='{:.4g}'.format, border=0)}</div>"


def _base64(picture: io.BytesIO) -> str:
    return base64.b64encode(picture.getvalue()).decode()
