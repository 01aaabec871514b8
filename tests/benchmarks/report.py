"""Rows of results -> docs/performance.json and the table in docs/performance.md."""

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deepfake.tracking import package_version

BEGIN = "<!-- begin of what `python -m tests.benchmarks` writes -->"
END = "<!-- end of what `python -m tests.benchmarks` writes -->"
PACKAGES = ("tensorflow", "keras", "numpy", "opencv-python-headless", "torch", "albumentations", "scipy")

METHOD = """Contestants run in processes of their own and take turns, round by round, so that one computes at a time;
the numbers are medians of {rounds} rounds after one for warming up, if no note says otherwise. The net is the small CNN
(`model=cnn`), trained on {images:,} images in batches of 32, 128 px, from JPEG files of 256 px that the benchmark
draws. *Ratio* is ours to the peer's. The speed of training is taken twice. Inside an epoch: from the end of its third
step to the end of its last. Over a whole epoch: from the end of the one before, with all that comes between, which is
validation and a checkpoint for ours, and neither for the peers. Ours includes everything that `python run.py`
does in a step."""


@dataclass(frozen=True)
class Target:
    """What a row should reach: its ratio to a peer, or its own value where it has none.

    Attributes:
        limit: The number.
        at_least: Whether it is to be reached; else it is not to be passed.
    """

    limit: float
    at_least: bool

    def met_by(self, value: float) -> bool:
        """Say whether a value is good enough."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Row:
    """One result.

    Attributes:
        benchmark: Name of the benchmark that measured it.
        what: What was measured.
        against: The peer, or empty.
        unit: Of `ours` and `peer`.
        ours: Our number; None if it was not measured.
        peer: The peer's; None if there is no peer, or it was not measured.
        target: What should be reached; None if nothing is promised.
        note: What a reader has to know.
        absent: Why it was not measured; empty where it was.
        rounds: Every round's numbers, by contestant.
        measured: UTC time, ISO 8601.
    """

    benchmark: str
    what: str
    against: str
    unit: str
    ours: float | None = None
    peer: float | None = None
    target: Target | None = None
    note: str = ""
    absent: str = ""
    rounds: dict[str, list[Any]] = field(default_factory=dict)
    measured: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def ratio(self) -> float | None:
        """Ours to the peer's."""
        return self.ours / self.peer if self.ours is not None and self.peer else None

    @property
    def verdict(self) -> str:
        """`met` or `MISSED`; empty without a target or without a number."""
        value = self.ratio if self.against else self.ours
        if self.target is None or value is None or self.absent:
            return ""
        return "met" if self.target.met_by(value) else "MISSED"


def write(folder: Path, rows: list[Row], order: list[str], settings: dict[str, Any]) -> None:
    """Write the JSON file and the table.

    Rows of benchmarks that were not run this time stay, if they were measured on the same machine, with the same
    packages and settings.

    Args:
        folder: Where; it is made.
        rows: The new rows.
        order: Names of the benchmarks, in the order of their rows.
        settings: `rounds`, `images` and `quick`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "performance.json"
    context = {"machine": machine(), "versions": versions(), "settings": settings}
    new = {row.benchmark for row in rows}
    rows = [row for row in _kept(path, context) if row.benchmark not in new] + rows
    rows.sort(key=lambda row: order.index(row.benchmark))
    document = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python -m tests.benchmarks",
        **context,
        "rows": [asdict(row) | {"ratio": row.ratio, "verdict": row.verdict} for row in rows],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    lines = _markdown(document, rows, (folder / "performance_growth.png").is_file())
    page = folder / "performance.md"
    text = page.read_text() if page.is_file() else f"# Performance\n\n{BEGIN}\n{END}\n"
    if BEGIN not in text or END not in text:
        text += f"\n{BEGIN}\n{END}\n"
    before, after = text.split(BEGIN)[0], text.split(END)[-1]
    page.write_text(before + "\n".join([BEGIN, *lines, END]) + after)


def machine() -> dict[str, Any]:
    """Return the processor's model, the cores that this process may use, and the memory in GB."""
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "ram_gb": round(memory[0] / 1e6, 1) if memory else None,
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Return the version of Python and of each package that is installed."""
    found = {"python": platform.python_version()}
    return found | {package: number for package in PACKAGES if (number := package_version(package))}


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def _kept(path: Path, context: dict[str, Any]) -> list[Row]:
    if not path.is_file():
        return []
    old = json.loads(path.read_text())
    if {key: old.get(key) for key in context} != context:
        return []
    rows = []
    for values in old["rows"]:
        target = Target(**values["target"]) if values["target"] else None
        rows.append(Row(**{k: v for k, v in values.items() if k not in ("ratio", "verdict", "target")}, target=target))
    return rows


def _markdown(document: dict[str, Any], rows: list[Row], has_plot: bool) -> list[str]:
    place, packages = document["machine"], document["versions"]
    dates = sorted({row.measured[:10] for row in rows})
    named = ", ".join(f"{name} {number}" for name, number in packages.items())
    lines = [
        f"Measured on {' to '.join(dict.fromkeys((dates[0], dates[-1])))} by `{document['command']}` on "
        f"{place['cpu']}, {place['cores']} cores, {place['ram_gb']} GB; {named}.",
        "",
        METHOD.format(**document["settings"]),
        "",
    ]
    if document["settings"]["quick"]:
        lines += ["**A quick look (`--quick`): few and short rounds.**", ""]
    lines += ["| what | against | ours | peer | ratio | target | |", "|---|---|--:|--:|--:|--:|---|"]
    lines += [table_row(row) for row in rows]
    notes = [f"- {row.what}{f', against {row.against}' if row.against else ''}: {row.note}" for row in rows if row.note]
    lines += ["", *notes] if notes else []
    if has_plot:
        alt = "Seconds for indexing, decoding and training against the number of images, on logarithmic axes"
        lines += ["", f"![{alt}](performance_growth.png)"]
    return lines


def table_row(row: Row) -> str:
    """Write a row of the Markdown table."""
    if row.absent:
        return f"| {row.what} | {row.against} | | | | {_target(row)} | not measured: {row.absent} |"
    ratio = f"{number(row.ratio)}×" if row.ratio is not None else ""
    verdict = f"**{row.verdict}**" if row.verdict == "MISSED" else row.verdict
    values = " | ".join(
        f"{number(value)} {row.unit}".strip() if value is not None else "" for value in (row.ours, row.peer)
    )
    return f"| {row.what} | {row.against} | {values} | {ratio} | {_target(row)} | {verdict} |"


def _target(row: Row) -> str:
    if row.target is None:
        return ""
    unit = "×" if row.against else f" {row.unit}"
    return f"{'≥' if row.target.at_least else '≤'} {row.target.limit:g}{unit}"


def number(value: float) -> str:
    """Write a number with three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
