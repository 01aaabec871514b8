"""The leaderboard: the runs as rows, to be filtered, sorted, averaged over seeds, and compared two by two.

Only `rows` and `compare` ask MLflow. A row is a plain dict, and so is a group of rows, which can be sorted and looked
up like one. Settings and metrics go by the names that a person types: `optimizer.learning_rate` or `learning_rate`,
`augmentation` for `augmentation.name`, `test/auc`, `seconds`, `status`.
"""

import ast
import csv
import difflib
import math
import operator
import re
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake import tracking
from deepfake.errors import DeepfakeError, ModelError, TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

Row = dict[str, Any]

AUCS = ("validation/auc", "test/auc")
# Settings that change no expected result.
UNDECIDING = ("seed", "tracking.", "evaluation.", "dataset.cache_limit", "dataset.audit", "trainer.profile")
LAST = "last"  # the sweep that began last
_LOWEST_FIRST = ("loss", "eer", "ece", "ece_before", "seconds")  # ends of the names of what should be small
_HIGHEST_FIRST = ("start", "runs")
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def rows(experiment: str | None = None, sweep: str | None = None) -> list[Row]:
    """List the runs, best validation AUC first; a sweep's own run, which trains nothing, is no row.

    Args:
        experiment: Name of an experiment; None for all of them.
        sweep: Id of a sweep, or the first six or more characters of it, or `last`; None for all runs.

    Returns:
        A dict for each run, all of it fit for JSON: `run_id`, `name`, `experiment`, `status`, `start` (milliseconds
        since 1970), `seconds` (None until it has ended), `version` and `alias` in the registry (None without), `sweep`
        and `job` (None outside a sweep), `overrides` (those that set a sweep's jobs apart), `fingerprint` of the data,
        `command`, `params` (text) and `metrics`.

    Raises:
        TrackingError: If there is no such sweep, or several.
    """
    client = tracking.client()
    names = {e.experiment_id: e.name for e in client.search_experiments() if experiment in (None, e.name)}
    if not names:
        return []
    runs = _search(client, list(names)) if sweep is None else _jobs(client, list(names), sweep)
    versions = _versions(client)
    found = [
        _row(run, names[run.info.experiment_id], *versions.get(run.info.run_id, (None, None)))
        for run in runs
        if tracking.VARIED not in run.data.tags
    ]
    return sorted(found, key=lambda row: row["metrics"].get("validation/auc", -1), reverse=True)


def full_name(rows: Sequence[Row], name: str) -> str:
    """Find out which setting, metric or field of the rows a typed name means.

    Args:
        rows: Rows or groups, at least one.
        name: A full name, a group of settings (`augmentation`), or the last part of a setting (`epochs`).

    Returns:
        The full name, for `value`.

    Raises:
        DeepfakeError: If there is no such name, or the last part of several settings is like that.
    """
    params = {key for row in rows for key in row["params"]}
    known = params.union(*(row["metrics"] for row in rows), *rows) - {"params", "metrics", "overrides", "sd"}
    for candidate in (name, f"{name}.name"):
        if candidate in known:
            return candidate
    ends = sorted(key for key in params if key.endswith(f".{name}"))
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise DeepfakeError(f"{name} could be {_listed(ends)}: type more of the name")
    raise DeepfakeError(f"{name}: these runs have no such setting or metric{_near(name, known)}")


def value(row: Row, name: str) -> Any:
    """Return the value of a setting (text), a metric or a field by its full name; None if the row has none."""
    return row["params"].get(name, row["metrics"].get(name, row.get(name)))


def keep(rows: Sequence[Row], conditions: Sequence[str]) -> list[Row]:
    """Keep the rows that fulfil every condition.

    Args:
        rows: The rows.
        conditions: Like `augmentation=heavy`, `test/auc>0.7`, `seed!=3`; the operators are = != < <= > >=. Numbers
            compare as numbers, text as text in any case; `null` is what a setting without a value holds. A row that
            lacks the value, or holds text where a number is given, fulfils only `!=`.

    Returns:
        Those rows, in their order.

    Raises:
        DeepfakeError: If a condition is none, or names what no row has.
    """
    kept = list(rows)
    for condition in conditions:
        parts = re.fullmatch(r"\s*([^<>=!\s]+)\s*(==|!=|<=|>=|=|<|>)\s*([^<>=!\s].*)", condition)
        if not parts:
            raise DeepfakeError(f"{condition}: should be like augmentation=heavy, test/auc>0.7 or seed!=3")
        name, sign, given = parts.groups()
        if rows:
            key = full_name(rows, name)
            kept = [row for row in kept if _holds(value(row, key), sign, given)]
    return kept


def order(rows: Sequence[Row], name: str) -> list[Row]:
    """Sort rows or groups by a setting or a metric.

    Args:
        rows: The rows.
        name: What by. Settings ascend; metrics stand best first: highest first, but for loss, eer, ece and seconds.
            Numbers come before text, and rows that lack the value come last.

    Returns:
        The rows, sorted; equal ones stay in their order.

    Raises:
        DeepfakeError: If no row has it.
    """
    if not rows:
        return []
    key = full_name(rows, name)
    highest_first = key in _HIGHEST_FIRST or (
        any(key in row["metrics"] for row in rows) and not key.endswith(_LOWEST_FIRST)
    )

    def place(row: Row) -> tuple[int, float, str]:
        plain = _plain(value(row, key))
        if plain is None:
            return 2, 0, ""
        return (1, 0, plain) if isinstance(plain, str) else (0, -plain if highest_first else plain, "")

    return sorted(rows, key=place)


def group(rows: Sequence[Row], names: Sequence[str], metrics: Sequence[str] = AUCS) -> list[Row]:
    """Put runs of the same settings together.

    Args:
        rows: The rows.
        names: The settings.
        metrics: Full names of what to average; the groups are sorted by the first.

    Returns:
        A dict for each combination of settings that is there: `params` (their values), `runs` (the number of finished
        runs), and over these the `metrics` (means) and `sd` (sample standard deviations); a mean over no run and a
        deviation over fewer than two are None.

    Raises:
        DeepfakeError: If no row has one of the settings.
    """
    if not rows:
        return []
    keys = [full_name(rows, name) for name in names]
    members = defaultdict(list)
    for row in rows:
        members[tuple(value(row, key) for key in keys)].append(row)
    return order(
        [_summary(dict(zip(keys, at, strict=True)), runs, metrics) for at, runs in members.items()], metrics[0]
    )


def over_seeds(rows: Sequence[Row], metrics: Sequence[str] = AUCS) -> list[Row]:
    """Put runs together that differ in nothing but `seed`, or where they are recorded: `group` by what else differs.

    Where a choice differs, like `augmentation`, the settings that always go with it are not named beside it.
    """
    differ = [key for key in differing(rows) if not key.startswith(UNDECIDING)]
    return group(rows, [key for key in differ if not _goes_with_choice(rows, differ, key)], metrics)


def differing(rows: Sequence[Row]) -> list[str]:
    """Name the settings that differ between rows; one that a row lacks differs from any value."""
    keys = sorted({key for row in rows for key in row["params"]})
    return [key for key in keys if len({row["params"].get(key) for row in rows}) > 1]


def folded(row: Row) -> Row:
    """Return a row whose augmentations are one setting each: `augmentation.blur` is `prob 0.5, range [0.0, 3.0]`."""
    params: dict[str, str] = {}
    for key in sorted(row["params"]):
        whole, _, part = key.rpartition(".")
        if "." not in whole:
            params[key] = row["params"][key]
        else:
            before = f"{params[whole]}, " if whole in params else ""
            params[whole] = f"{before}{part} {row['params'][key]}"
    return row | {"params": params}


def pick(rows: Sequence[Row], which: str) -> Row:
    """Find one run.

    Args:
        rows: All rows.
        which: A run's id or the first six or more characters of it, the number of its version, or an alias.

    Returns:
        Its row.

    Raises:
        TrackingError: If there is none, or several.
    """
    found = [row for row in rows if which == row["version"] or which in (row["alias"] or "").split()]
    if not found and re.fullmatch(r"[0-9a-f]{6,32}", which):
        found = [row for row in rows if row["run_id"].startswith(which)]
    if len(found) != 1:
        what = "several runs are" if found else "no run is"
        raise TrackingError(f"{what} {which}: `python -m deepfake runs` lists them, by id, version and alias")
    return found[0]


@dataclass(frozen=True)
class Interval:
    """By how much the Test AUC of run B exceeds that of run A, and the ends of the 95 % interval of that.

    Attributes:
        difference: B minus A.
        low: Lower end.
        high: Upper end.
        images: Number of Test images.
        groups: Number of groups they come from.
        drawn: What the bootstrap draws: `groups` or single `images`.
    """

    difference: float
    low: float
    high: float
    images: int
    groups: int
    drawn: str

    @property
    def verdict(self) -> str:
        """What this says, in one line."""
        over = f"over {self.images} images"
        over += f" in {self.groups} groups, drawn group by group" if self.drawn == "groups" else ", drawn one by one"
        if self.low <= 0 <= self.high:
            interval = f"95 % interval {self.low:.4f} to {self.high:.4f} {over}"
            return f"B minus A is {self.difference:.4f}, {interval}: it holds 0, these images cannot tell the two apart"
        better, low, high = ("B", self.low, self.high) if self.low > 0 else ("A", -self.high, -self.low)
        interval = f"95 % interval {low:.4f} to {high:.4f} {over}"
        return f"{better} is higher by {abs(self.difference):.4f}, {interval}: more than chance"


def compare(a: Row, b: Row) -> Interval:
    """Compare two runs on the Test images, by what each said of every one of them.

    Args:
        a: A run.
        b: Another, on the same images.

    Returns:
        The difference of their Test AUC.

    Raises:
        TrackingError: If their images are not the same, or what they said of them is lost.
        ModelError: If the images are too few.
    """
    import numpy as np

    from deepfake.evaluation.bootstrap import FEWEST, paired_bootstrap

    if a["fingerprint"] != b["fingerprint"] or not a["fingerprint"]:
        raise TrackingError("the runs' data differ (another fingerprint), so their images cannot be paired")
    client = tracking.client()
    said_a, said_b = _predictions(client, a), _predictions(client, b)
    if said_a.keys() != said_b.keys():
        raise TrackingError("the runs' data are the same, but lie under other names, so their images cannot be paired")
    paired = [(*said_a[path], *said_b[path]) for path in said_a]
    labels, groups_a, scores_a, labels_b, groups_b, scores_b = zip(*paired, strict=True) if paired else [()] * 6
    if labels != labels_b:
        raise TrackingError("the runs do not call the same images fake, so their images cannot be paired")
    groups = min(groups_a, groups_b, key=lambda names: len(set(names)))  # should they differ, the more cautious ones
    count = len(set(groups))
    drawn = "groups" if count < len(groups) else "images"
    if count < FEWEST or len(set(labels)) < 2:
        raise ModelError(f"{count} {drawn} of Test are too few for an interval")
    found = paired_bootstrap(np.array(labels), np.array(scores_a), np.array(scores_b), groups)
    return Interval(found.value, found.low, found.high, len(groups), count, drawn)


def _search(client: "MlflowClient", experiments: list[str], wanted: str = "") -> "Iterator[MlflowRun]":
    token = None
    while True:
        page = client.search_runs(experiments, wanted, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _jobs(client: "MlflowClient", experiments: list[str], sweep: str) -> "list[MlflowRun]":
    if sweep == LAST:
        latest = ["attributes.start_time DESC"]
        found = client.search_runs(experiments, f"tags.`{tracking.VARIED}` LIKE '%'", max_results=1, order_by=latest)
        if not found:
            raise TrackingError("there is no sweep yet: `python run.py -m augmentation=none,heavy` is one")
        sweep = found[0].info.run_id
    jobs = []
    if re.fullmatch(r"[0-9a-f]{6,32}", sweep):
        jobs = list(_search(client, experiments, f"tags.`{tracking.PARENT}` LIKE '{sweep}%'"))
    if not jobs and tracking.VARIED not in tracking.find(client, sweep).data.tags:
        raise TrackingError(f"run {sweep} is no sweep: the column `sweep` of `python -m deepfake runs` names them")
    if len({run.data.tags[tracking.PARENT] for run in jobs}) > 1:
        raise TrackingError(f"several sweeps begin with {sweep}: type more of the id")
    return jobs


def _versions(client: "MlflowClient") -> dict[str, tuple[str, str | None]]:
    """Return each run's version and its aliases; of several versions, one with an alias, and then the newest."""
    aliases = defaultdict(list)
    for model in client.search_registered_models():
        for alias, version in sorted(model.aliases.items()):
            aliases[model.name, str(version)].append(alias)
    found = [(v, " ".join(aliases[v.name, str(v.version)])) for v in client.search_model_versions()]
    found.sort(key=lambda pair: (bool(pair[1]), int(pair[0].version)))
    return {version.run_id: (str(version.version), alias or None) for version, alias in found if version.run_id}


def _row(run: "MlflowRun", experiment: str, version: str | None, alias: str | None) -> Row:
    info, tags = run.info, run.data.tags
    ended = info.end_time if info.status != "RUNNING" else None  # a resumed run still has the end it once came to
    job = tags.get(tracking.JOB_NUMBER)
    return {
        "run_id": info.run_id,
        "name": info.run_name,
        "experiment": experiment,
        "status": info.status,
        "start": info.start_time,
        "seconds": (ended - info.start_time) / 1000 if ended else None,
        "version": version,
        "alias": alias,
        "sweep": tags.get(tracking.PARENT),
        "job": None if job is None else int(job),
        "overrides": {
            key.removeprefix(tracking.OVERRIDE): tags[key] for key in sorted(tags) if key.startswith(tracking.OVERRIDE)
        },
        "fingerprint": tags.get("data.fingerprint"),
        "command": tags.get("command"),
        "params": dict(run.data.params),
        "metrics": dict(run.data.metrics),
    }


def _near(name: str, known: set[str]) -> str:
    forms = defaultdict(list)
    for key in sorted(known, key=lambda key: ("/" in key, key)):  # settings before metrics
        for form in {key, key.removesuffix(".name"), re.split(r"[./]", key)[-1]}:
            forms[form].append(key)
    near = dict.fromkeys(key for form in difflib.get_close_matches(name, forms, n=3, cutoff=0.8) for key in forms[form])
    meant = f"did you mean {_listed(list(near))}?"
    return f"; {meant}" if near else "; `python -m deepfake runs --csv` has them all as columns"


def _listed(names: Sequence[str]) -> str:
    shown = [name.removesuffix(".name") for name in names][:4]
    return " or ".join(shown) + (" or another" if len(names) > len(shown) else "")


def _plain(given: Any) -> float | str | None:
    """Return a number as a number and other text in small letters, with MLflow's `None` as the `null` that is typed."""
    try:
        number = float(given)
    except (TypeError, ValueError):
        return None if given is None else {"null": "none"}.get(str(given).casefold(), str(given).casefold())
    return None if math.isnan(number) else number


def _holds(found: Any, sign: str, given: str) -> bool:
    left, right = _plain(found), _plain(given.strip())
    return _OPERATORS[sign](left, right) if type(left) is type(right) else sign == "!="


def _summary(params: dict[str, Any], rows: Sequence[Row], metrics: Sequence[str]) -> Row:
    finished = [row for row in rows if row["status"] == "FINISHED"]
    measured = {name: [found for row in finished if (found := value(row, name)) is not None] for name in metrics}
    return {
        "params": params,
        "runs": len(finished),
        "metrics": {name: statistics.fmean(found) if found else None for name, found in measured.items()},
        "sd": {name: statistics.stdev(found) if len(found) > 1 else None for name, found in measured.items()},
    }


def _goes_with_choice(rows: Sequence[Row], differ: Sequence[str], key: str) -> bool:
    choice = f"{key.partition('.')[0]}.name"
    if key == choice or choice not in differ:
        return False
    pairs = {(row["params"].get(choice), row["params"].get(key)) for row in rows}
    return len(pairs) == len({row["params"].get(choice) for row in rows})


def _predictions(client: "MlflowClient", row: Row) -> dict[str, tuple[bool, str, float]]:
    """Return what a run says of each Test image: whether it is fake, its group and P(fake), by its path."""
    from mlflow.exceptions import MlflowException

    name, run_id = "predictions.csv", row["run_id"]
    fake = ast.literal_eval(row["params"]["dataset.class_names"])[1]
    with tempfile.TemporaryDirectory() as folder:
        try:
            client.download_artifacts(run_id, name, folder)
            with Path(folder, name).open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
                test = [line for line in csv.DictReader(lines) if line["split"] == "Test"]
        except (MlflowException, OSError):  # of lost files MLflow may give an empty folder, and no error
            raise TrackingError(
                f"run {run_id[:8]} ({row['status'].lower()}) has no {name}, or its files are lost"
            ) from None
    return {line["path"]: (line["label"] == fake, line["group"], float(line["p_fake"])) for line in test}
