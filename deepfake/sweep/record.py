"""The run of a whole sweep in MLflow: the runs of its jobs are nested in it, and it holds what came of them."""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback

from deepfake.config import PROJECT, complete_ray
from deepfake.console import complain, err, out
from deepfake.sweep import PLUGINS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

    from deepfake.sweep.plan import Plan

KEY, FOUND, FAILED = "sweep.key", "sweep.found.", "sweep.failed."  # tags of a sweep's run
BEST = "sweep.best"  # tag of its best job's run
JUDGED, SHOWN = "validation/auc", "test/auc"  # the best job is chosen by the first; Test chooses nothing


class NotBegun(BaseException):
    """A sweep that cannot begin; its cause says why. Of an Exception in a callback, Hydra would only warn."""


class Recorder(Callback):
    """What Hydra calls when a run or a sweep begins (`hydra.callbacks` in `conf/config.yaml`)."""

    def on_run_start(self, config: Any, **_: Any) -> None:
        """Say what would be done, if only that is asked for."""
        if config.get("sweep", {}).get("dry_run") is True:
            from deepfake.sweep import plan

            with _reporting():
                plan.show(plan.expand(list(config.hydra.overrides.task)))
            sys.exit(0)

    def on_multirun_start(self, config: Any, **_: Any) -> None:
        """Check every job; then say what would be done, or begin the sweep's run."""
        with _reporting():
            _prepare(config.hydra)


@contextmanager
def _reporting() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise NotBegun from error


def _prepare(hydra: Any) -> None:
    from deepfake.sweep import plan

    spaces = [f"{key}={value}" for key, value in (hydra.sweeper.get("params") or {}).items()]
    typed = list(hydra.overrides.task)
    planned = plan.expand(typed, spaces, hydra.sweeper.get("n_trials"))
    if planned.jobs[0].config.sweep.dry_run:
        plan.show(planned)
        sys.exit(0)
    begin(planned, [*spaces, *typed])
    if "RayLauncher" in hydra.launcher["_target_"]:
        complete_ray(hydra.launcher)


@contextmanager
def concluded() -> Iterator[None]:
    """Whatever way the sweep that begins inside ends, conclude its run: FINISHED, FAILED or KILLED."""
    from deepfake import outbox, tracking

    outer, status = os.environ.get(tracking.SWEEP), "FINISHED"
    try:
        with tracking.interruptible():
            yield
    except NotBegun as not_begun:
        status = "FAILED"
        raise (not_begun.__cause__ or not_begun) from None
    except BaseException as error:
        status = "FAILED" if isinstance(error, Exception) else "KILLED"  # Ray makes a SystemExit of SIGTERM
        raise
    finally:
        sweep = os.environ.get(tracking.SWEEP)
        if sweep and sweep != outer:  # it began in here; the others are jobs of one
            with outbox.telling(tracking.uri()):
                conclude(sweep, status)


def begin(planned: "Plan", overrides: Sequence[str]) -> None:
    """Begin the sweep's run, or open it again if the same command was interrupted; its jobs find it by the environment.

    Args:
        planned: The sweep.
        overrides: All that makes it this sweep and no other.
    """
    from deepfake import orphans, tracking

    settings = planned.jobs[0].config
    what = sorted(override for override in overrides if not override.startswith("sweep."))
    key = hashlib.sha256(json.dumps([what, tracking.code_hash()]).encode()).hexdigest()[:16]
    jobs = planned.trials or len(planned.jobs)
    tags = tracking.origin() | {KEY: key, tracking.VARIED: json.dumps(planned.varied), "sweep.jobs": str(jobs)}
    connected = tracking.client()
    experiment = tracking.experiment_id(connected, settings.tracking.experiment)
    orphans.end(connected)
    earlier = _earlier(connected, experiment, key) if settings.sweep.skip_finished else None
    if earlier:
        run_id = earlier.info.run_id
        for tag in earlier.data.tags:
            if tag.startswith((FOUND, FAILED)):
                connected.delete_tag(run_id, tag)
        connected.log_batch(run_id, tags=tracking.as_tags(tags | orphans.hold()))
        connected.update_run(run_id, status="RUNNING")
    else:
        name = "sweep over " + ", ".join(planned.varied) if planned.varied else "sweep"
        run_id = connected.create_run(experiment, tags=tags | orphans.hold(), run_name=name).info.run_id
    os.environ[tracking.SWEEP] = run_id
    importable = [str(PROJECT), str(PLUGINS), os.environ.get("PYTHONPATH")]  # by the workers of any launcher
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, importable))
    again = ", which began before" if earlier else ""
    out.print(f"Sweep {run_id[:8]}{again}: {jobs} jobs over {', '.join(planned.varied) or 'nothing'}")


def _earlier(connected: "MlflowClient", experiment: str, key: str) -> "MlflowRun | None":
    """Find the last run of the same sweep, unless it is still going on."""
    last = connected.search_runs([experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
    return next((run for run in last if run.info.status != "RUNNING"), None)


def add_found(number: int, run_id: str, overrides: Sequence[str]) -> None:
    """Note in the sweep's run that a job was passed over, whose result an earlier run holds."""
    from deepfake import tracking

    connected, sweep = tracking.client(), os.environ[tracking.SWEEP]
    chosen = tracking.chosen(overrides, json.loads(connected.get_run(sweep).data.tags[tracking.VARIED]))
    connected.set_tag(sweep, f"{FOUND}{number}", json.dumps({"run": run_id, "overrides": chosen}))


def add_failed(number: int, reason: str) -> None:
    """Note in the sweep's run that a job failed."""
    from deepfake import tracking

    tracking.client().set_tag(os.environ[tracking.SWEEP], f"{FAILED}{number}", reason)


def conclude(run_id: str, status: str) -> None:
    """End a sweep's run: compare its jobs, say which was best, and which failed and where their logs lie.

    Args:
        run_id: Of the sweep's run.
        status: FINISHED, FAILED or KILLED.
    """
    from deepfake import leaderboard, tracking

    connected = tracking.client()
    connected.set_terminated(run_id, status)  # first of all: who is told to end may not have long
    tags = connected.get_run(run_id).data.tags
    rows = leaderboard.rows(sweep=run_id)
    for row in rows:
        if row["status"] == "RUNNING":  # its process was killed before it could say so
            connected.set_terminated(row["run_id"], "KILLED")
            row["status"] = "KILLED"
    done = [row for row in rows + _found(tags) if row["status"] == "FINISHED" and JUDGED in row["metrics"]]
    last = {describe(row["overrides"]): row for row in sorted(done, key=lambda row: row["start"])}
    if rows := list(last.values()):  # on other data than before its interruption, a sweep runs a job again
        _compare(connected, run_id, rows, tags)
    _name_failures(tags)


def _compare(connected: "MlflowClient", run_id: str, rows: list[dict[str, Any]], tags: dict[str, str]) -> None:
    from deepfake import tracking
    from deepfake.sweep import comparison

    factors = json.loads(tags[tracking.VARIED])
    with tempfile.TemporaryDirectory() as scratch:
        comparison.write(Path(scratch), rows, factors)
        connected.log_artifacts(run_id, scratch, "comparison")
    best = max(rows, key=lambda row: row["metrics"][JUDGED])
    if before := tags.get("best.run_id"):
        connected.delete_tag(before, BEST)
    connected.set_tag(best["run_id"], BEST, "true")
    told = {"best.run_id": best["run_id"], "best.job": str(best["job"]), "best.overrides": describe(best["overrides"])}
    connected.log_batch(run_id, tags=tracking.as_tags(told))
    for metric in (JUDGED, SHOWN):
        connected.log_metric(run_id, f"best/{metric}", best["metrics"][metric])
    comparison.show(rows, factors)
    aucs = f"validation AUC {best['metrics'][JUDGED]:.4f}, test AUC {best['metrics'][SHOWN]:.4f}"
    out.print(f"Best: job {best['job']} ({told['best.overrides']}), {aucs}, run {best['run_id']}", markup=False)
    place = connected.get_run(run_id).info.artifact_uri.removeprefix("file://")
    out.print(f"Comparison: {place}/comparison/comparison.html", markup=False)
    out.print(f"Every run: python -m deepfake runs --sweep {run_id[:8]}")


def describe(chosen: dict[str, str]) -> str:
    """Say what makes a job differ from the others, like `augmentation=heavy seed=2`."""
    return " ".join(f"{key}={value}" for key, value in chosen.items())


def _name_failures(tags: dict[str, str]) -> None:
    failed = _numbered(tags, FAILED)
    if failed:
        complain(f"{len(failed)} of {tags['sweep.jobs']} jobs failed")
    for number, reason in failed.items():
        err.print(f"  job {number}: {reason}", markup=False)


def _found(tags: dict[str, str]) -> list[dict[str, Any]]:
    """Return the rows of the runs that earlier sweeps, or nobody's, did for this one."""
    from deepfake import leaderboard

    found = {number: json.loads(text) for number, text in _numbered(tags, FOUND).items()}
    by_id = {row["run_id"]: row for row in leaderboard.rows()} if found else {}
    return [
        by_id[entry["run"]] | {"job": number, "overrides": entry["overrides"]}
        for number, entry in found.items()
        if entry["run"] in by_id
    ]


def _numbered(tags: dict[str, str], prefix: str) -> dict[int, str]:
    found = {int(key.removeprefix(prefix)): value for key, value in tags.items() if key.startswith(prefix)}
    return dict(sorted(found.items()))
