"""What a sweep is going to do: its jobs, what differs between them, which are done already, how long the rest takes."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.errors import HydraException

from deepfake import leaderboard, tracking
from deepfake.config import Config, compose, explain, flatten, parse
from deepfake.console import duration, out, table
from deepfake.data.dataset import load
from deepfake.errors import ConfigError, DeepfakeError
from deepfake.sweep.record import describe

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

LAST = 5  # runs from which the time of a job is estimated


@dataclass(frozen=True)
class Job:
    """One job: its overrides, its settings, and its overrides among those that differ, by key."""

    overrides: list[str]
    config: Config
    chosen: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """A sweep.

    Attributes:
        varied: The keys in which its jobs differ.
        jobs: Its jobs; of a search, which chooses them as it goes, only one as an example, with no choice made.
        trials: The number of jobs of a search; None for a sweep of every combination.
    """

    varied: list[str]
    jobs: list[Job]
    trials: int | None


def expand(overrides: Sequence[str], spaces: Sequence[str] = (), trials: int | None = None) -> Plan:
    """Find out what a sweep will do, and check the settings of every job before the first begins.

    Args:
        overrides: As typed, like `["augmentation=none,heavy", "seed=1,2", "trainer.epochs=3"]`.
        spaces: The same from the configuration (`hydra.sweeper.params`), where they give way to those typed.
        trials: The number of jobs of a search; None for a sweep of every combination.

    Returns:
        The plan.

    Raises:
        ConfigError: If the settings of a job are not allowed; the message names the job.
    """
    parsed = parse([*spaces, *overrides])
    varied = [key for key, item in parsed.items() if item.is_sweep_override()]
    try:
        if trials is None:
            every = BasicSweeper.split_arguments(list(parsed.values()), None)[0]
        else:
            every = [[str(item.input_line) for key, item in parsed.items() if key not in varied]]
    except HydraException as error:
        raise ConfigError(explain(error)) from error
    jobs = [_job(number, given, varied) for number, given in enumerate(every)]
    return Plan([key.lstrip("+") for key in varied], jobs, trials)


def _job(number: int, overrides: Sequence[str], varied: Sequence[str]) -> Job:
    chosen = tracking.chosen(overrides, [key.lstrip("+") for key in varied])
    try:
        return Job(list(overrides), compose(list(overrides)), chosen)
    except ConfigError as error:
        named = f"job {number} ({describe(chosen)}): " if chosen else ""
        raise ConfigError(f"{named}{error}") from error


def done(config: Config) -> "MlflowRun | None":
    """Find the run that makes a job needless, or that it can go on with.

    Args:
        config: The job's settings.

    Returns:
        A finished run of the same settings, code and data, or else one that was killed and left a checkpoint, or None.
    """
    alike = tracking.runs_like(config)
    if not alike:
        return None
    try:
        fingerprint = load(config.dataset).fingerprint
    except DeepfakeError:
        return None  # the job itself will say what is wrong with its data
    same = [run for run in alike if run.data.tags["data.fingerprint"] == fingerprint]
    finished = [run for run in same if run.info.status == "FINISHED" and "validation/auc" in run.data.metrics]
    killed = [run for run in same if run.info.status == "KILLED" and tracking.checkpoint(run.info.run_id).is_file()]
    return next(iter(finished + killed), None)


def show(plan: Plan) -> None:
    """Print the jobs, what differs between them, which are done already, and how long the others will take."""
    if plan.trials:
        _show_search(plan)
        return
    past = leaderboard.rows()
    rows, left = [], []
    for number, job in enumerate(plan.jobs):
        run = done(job.config) if job.config.sweep.skip_finished else None
        seconds = estimate(job.config, past)
        if run and run.info.status == "FINISHED":
            what, seconds = f"finished: run {run.info.run_id[:8]}", 0
        else:
            what = f"goes on with run {run.info.run_id[:8]}" if run else "to be run"
            left.append(seconds)
        rows.append([str(number), *(job.chosen.get(key, "") for key in plan.varied), what, _time(seconds)])
    table("", ["job", *plan.varied, "", "about"], rows)
    out.print(f"{len(left)} of {len(rows)} jobs to be run{_total(left)}. Nothing was run: sweep.dry_run=true.")


def estimate(config: Config, past: Sequence[dict[str, Any]]) -> float | None:
    """Guess how long a job takes, in seconds.

    Args:
        config: Its settings.
        past: Rows of `leaderboard.rows`.

    Returns:
        The median of the last finished runs of the same model on the same data at the same size, scaled by the number
        of epochs; None if there is none.
    """
    flat = flatten(config)
    same = [key for key in ("model.name", "dataset.name", "dataset.root", "dataset.image_size") if key in flat]
    alike = [
        row
        for row in past
        if row["status"] == "FINISHED" and all(row["params"].get(key) == str(flat[key]) for key in same)
    ]
    last = sorted(alike, key=lambda row: row["start"])[-LAST:]
    return statistics.median(_seconds_at(config.trainer.epochs, row) for row in last) if last else None


def _seconds_at(epochs: int, row: dict[str, Any]) -> float:
    return row["seconds"] * epochs / int(row["params"]["trainer.epochs"])


def _show_search(plan: Plan) -> None:
    seconds = estimate(plan.jobs[0].config, leaderboard.rows())
    total = _total([seconds] * (plan.trials or 0))
    out.print(f"A search of {plan.trials} trials over {', '.join(plan.varied)}{total}.", markup=False)
    out.print("Nothing was run: sweep.dry_run=true.")


def _total(seconds: Sequence[float | None]) -> str:
    known = [guess for guess in seconds if guess is not None]
    if len(known) < len(seconds):
        return ", how long they take no run tells yet"
    return f", about {duration(sum(known))} one after another" if known else ""


def _time(seconds: float | None) -> str:
    return "?" if seconds is None else duration(seconds)
