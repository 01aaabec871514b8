"""Everything MLflow about a run: where the store is, how a run begins and ends, and what it records."""

import errno
import getpass
import hashlib
import json
import logging
import math
import os
import platform
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from deepfake import orphans, outbox
from deepfake.config import PROJECT, Config, Ensemble, from_yaml, home, recorded, result_hash, to_yaml
from deepfake.data.dataset import Data
from deepfake.errors import ConfigError, DataError, DeepfakeError, TrackingError, refusal

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

# The environment of a sweep's jobs: the id of the sweep's own run, and the job's number.
SWEEP, JOB = "DEEPFAKE_SWEEP", "DEEPFAKE_JOB"
PARENT, JOB_NUMBER, OVERRIDE = "mlflow.parentRunId", "sweep.job", "override."  # tags of a job's run
VARIED = "sweep.varied"  # tag of a sweep's run: the overrides in which its jobs differ
CODE = ("data", "augmentation", "models", "training", "evaluation", "experiment.py")  # what a result comes from
ARTIFACTS = "artifacts"  # in mlruns/, of this project's own database
RELOCATE = "`python -m deepfake relocate` mends it"
PACKAGES = ("tensorflow", "keras", "numpy", "mlflow", "opencv-python-headless", "pillow")


def uri() -> str:
    """Return the tracking store: `MLFLOW_TRACKING_URI`, or this project's own database."""
    if named := os.environ.get("MLFLOW_TRACKING_URI"):
        return named
    if re.search("[%?#]", str(home())):  # these mean something in a URI, and the store would lie elsewhere
        raise TrackingError(f"{home()}: MLflow needs a path without %, ? and #; set DEEPFAKE_HOME to another folder")
    return f"sqlite:///{database()}"


def database() -> Path:
    """Return the path of this project's own database, used or not."""
    return home() / "mlruns" / "mlflow.db"


def is_ours() -> bool:
    """Say whether the tracking store is this project's own database."""
    return uri() == f"sqlite:///{database()}"


def client() -> "MlflowClient":
    """Connect to the store; a missing database is made by one process, while the others wait.

    Returns:
        A client of the tracking store and the registry.

    Raises:
        TrackingError: If the store does not answer.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # for two small files
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # some seconds, not its seven in four minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    import mlflow

    for chatty in ("mlflow.store.db.utils", "mlflow.store.model_registry.abstract_store", "urllib3.connectionpool"):
        # "Creating initial database tables", "Waiting up to ...", "Retrying", tracebacks of what is told in a line here
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    if is_ours() and database().exists() and not os.access(database(), os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(database()))
    with lock(), outbox.telling(uri()):
        connected = mlflow.MlflowClient(uri())  # not set_tracking_uri, which writes to the environment
        connected.search_experiments(max_results=1)  # the first touch runs the database's migrations
    return connected


def find(connected: "MlflowClient", run_id: str) -> "MlflowRun":
    """Return a run.

    Args:
        connected: A client of the store.
        run_id: Its id, or the first six or more characters of it.

    Returns:
        The run.

    Raises:
        TrackingError: If the store has no such run, or several.
    """
    found: list[MlflowRun] = []
    if re.fullmatch(r"[0-9a-f]{6,32}", run_id):
        experiments = [experiment.experiment_id for experiment in connected.search_experiments()]
        found = connected.search_runs(experiments, f"attributes.run_id LIKE '{run_id}%'", max_results=2)
    if len(found) != 1:
        what = "several runs begin with" if found else "no run"
        raise TrackingError(f"{what} {run_id} in {uri()}: `python -m deepfake runs` lists them")
    return found[0]


def resumed_config(run_id: str) -> Config:
    """Return the settings of an interrupted run.

    Args:
        run_id: Its id.

    Returns:
        Its configuration, with `resume` set.

    Raises:
        TrackingError: If there is no such run, or it is finished.
    """
    run = find(client(), run_id)
    if run.info.status == "FINISHED":
        raise TrackingError(f"resume={run_id}: that run is finished; there is nothing left to do")
    return replace(config_of(run.info.run_id), resume=run.info.run_id)


def config_of(run_id: str) -> Config:
    """Return the settings of a run; raise an error if they are not there, or do not fit the schema of this version."""
    import mlflow

    try:
        path = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/config.yaml", tracking_uri=uri())
        return from_yaml(Path(path).read_text(encoding="utf-8"))
    except (mlflow.MlflowException, OSError) as error:
        reason = textwrap.shorten(str(error), 160)
        raise TrackingError(
            f"run {run_id[:8]} has no settings: killed as it began, or mlruns/ was moved? Then {RELOCATE} ({reason})"
        ) from None
    except ConfigError as error:
        raise ConfigError(f"run {run_id[:8]} was made by another version of this project: {error}") from None


def runs_like(config: Config) -> list["MlflowRun"]:
    """Find the runs, whatever became of them, of the same settings and the same code; their data may differ.

    Args:
        config: The settings; runs of another `tracking.experiment` are not looked at.

    Returns:
        The runs, the one that began last first.
    """
    connected = client()
    experiment = connected.get_experiment_by_name(config.tracking.experiment)
    if experiment is None:
        return []
    same = f"tags.`config.hash` = '{result_hash(config)}' and tags.`code.hash` = '{code_hash()}'"
    return list(connected.search_runs([experiment.experiment_id], same, order_by=["attributes.start_time DESC"]))


@cache
def code_hash() -> str:
    """Return a hash of all code that a result comes from: this project's, and the versions of the libraries."""
    digest = hashlib.sha256(
        " ".join(f"{name} {package_version(name)}" for name in PACKAGES if name != "mlflow").encode()
    )
    here = Path(__file__).parent
    for path in sorted(path for name in CODE for path in [here / name, *(here / name).rglob("*")]):
        if path.suffix == ".py":
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class Interrupted(KeyboardInterrupt):
    """The process was asked to end."""


def checkpoint(run_id: str) -> Path:
    """Return the path of a run's training checkpoint."""
    return home() / "mlruns" / "checkpoints" / f"{run_id}.npz"


class Run:
    """A run that is being recorded.

    Attributes:
        id: MLflow's id of it.
        checkpoint: Path of its training checkpoint.
    """

    def __init__(self, connected: "MlflowClient", run_id: str) -> None:
        self.id = run_id
        self.checkpoint = checkpoint(run_id)
        self.outbox = outbox.Outbox(connected, run_id)
        self._logged = {metric.step for metric in connected.get_metric_history(run_id, "epoch/loss")}
        self._final = connected.get_run(run_id).data.metrics

    def log_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Record the metrics of an epoch, once: epochs that stand there from before an interruption are passed over."""
        if epoch not in self._logged:
            self._log({f"epoch/{name}": value for name, value in metrics.items()}, epoch)

    def log_metrics(self, split: str, metrics: dict[str, float]) -> None:
        """Record the final metrics of a split, as `test/auc`, once; those that could not be computed are left out."""
        new = {}
        for name, value in metrics.items():
            named = f"{split.lower()}/{name}"
            if not math.isnan(value) and not math.isclose(value, self._final.get(named, math.nan), rel_tol=1e-6):
                new[named] = value
        self._log(new, 0)

    def log_artifacts(self, folder: Path, place: str | None = None) -> None:
        """Keep a folder's files, below `place` among the run's artifacts."""
        self.outbox.put_files(folder, place)

    def tag(self, **tags: str) -> None:
        """Set tags."""
        self.outbox.put(tags=tags)

    def end(self, status: str) -> None:
        """Record how the run ended: FINISHED, FAILED or KILLED."""
        self.outbox.put(status=status, ms=_now())

    def _log(self, metrics: dict[str, float], step: int) -> None:
        now = _now()
        self.outbox.put(metrics=[[name, value, now, step] for name, value in metrics.items()])


@contextmanager
def run(config: Config, data: Data) -> Iterator[Run]:
    """Record a run, from its beginning to whatever end: FINISHED, FAILED, or KILLED by Ctrl-C or SIGTERM.

    Args:
        config: The run's settings; with `resume`, that run goes on.
        data: Its data.

    Yields:
        The run. What it records while the store does not answer is kept, and sent later.

    Raises:
        DataError: If a resumed run's data are no longer what they were.
        TrackingError: If the store does not answer as the run begins.
        DeepfakeError: If the disk is full.
    """
    connected = client()
    with outbox.telling(uri()):
        orphans.end(connected)
        run_id = _reopen(connected, config.resume, data) if config.resume else _begin(connected, config, data)
        record = Run(connected, run_id)
    with interruptible():
        try:
            yield record
        except BaseException as error:
            with suppress(OSError):  # of a full disk; the next start ends the run
                record.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            if isinstance(error, OSError) and (reason := refusal(error)):
                raise DeepfakeError(f"{reason}; then: python run.py resume={run_id}") from error
            raise
        record.end("FINISHED")


def _begin(connected: "MlflowClient", config: Config, data: Data) -> str:
    from mlflow import MlflowException
    from mlflow.entities import Param

    place = _sweep_tags(connected)
    ours = [f"{key.removeprefix(OVERRIDE)}={value}" for key, value in place.items() if key.startswith(OVERRIDE)]
    name = " ".join(ours) or _name(config, data)
    experiment = experiment_id(connected, config.tracking.experiment)
    run_id = connected.create_run(experiment, tags=orphans.hold(), run_name=name).info.run_id
    params = [Param(key, str(value)) for key, value in recorded(config).items()]
    connected.log_batch(run_id, params=params, tags=as_tags(_tags(config, data) | place))
    connected.log_text(run_id, to_yaml(config), "config.yaml")
    inputs = _dataset_inputs(config, data)
    try:
        connected.log_inputs(run_id, inputs)
    except MlflowException:  # of runs that are the first of a data set at once, MLflow fails all but one
        connected.log_inputs(run_id, inputs)
    return run_id


def _name(config: Config, data: Data) -> str:
    if isinstance(config.model, Ensemble):
        return f"ensemble of {' '.join(config.model.members)} {data.name}"
    return f"{config.model.name} {config.augmentation.name} {data.name}"


def _reopen(connected: "MlflowClient", run_id: str, data: Data) -> str:
    earlier = find(connected, run_id)
    if earlier.info.status == "RUNNING" and orphans.is_alive(earlier):
        raise TrackingError(f"resume={run_id}: that run is still going on, as process {earlier.data.tags.get('pid')}")
    before = earlier.data.tags.get("data.fingerprint")
    if before != data.fingerprint:
        raise DataError(
            f"resume={run_id}: the images in {data.root} are not those the run began with "
            f"(fingerprint {data.fingerprint[:8]}, then {str(before)[:8]}); start a new run"
        )
    if not outbox.Outbox(connected, run_id).send():
        raise TrackingError(f"the tracking store {uri()} does not take what run {run_id} recorded before")
    ours = {"pid": str(os.getpid())} | orphans.hold() | _sweep_tags(connected)
    connected.log_batch(run_id, tags=as_tags(ours))
    connected.update_run(run_id, status="RUNNING")
    return run_id


def experiment_id(connected: "MlflowClient", name: str) -> str:
    """Return the id of an experiment, which is made if there is none of that name.

    Raises:
        TrackingError: If it was deleted.
    """
    with lock():
        experiment = connected.get_experiment_by_name(name)
        if experiment is None:
            local = uri().startswith("sqlite:")
            return connected.create_experiment(name, str(home() / "mlruns" / ARTIFACTS) if local else None)
    if experiment.lifecycle_stage == "deleted":
        raise TrackingError(f"tracking.experiment={name} was deleted: restore it in MLflow, or choose another name")
    for place in elsewhere([experiment.artifact_location]):
        raise TrackingError(f"mlruns/ was moved or copied from {place.parent}: {RELOCATE}")
    return experiment.experiment_id


def elsewhere(locations: Sequence[str | Path]) -> list[Path]:
    """Return those places of artifacts of this project's own database that are another `mlruns/` than its own."""
    if not is_ours():
        return []
    ours = home() / "mlruns" / ARTIFACTS
    places = {Path(location) for location in locations}
    return sorted(place for place in places if place.parts[-2:] == ours.parts[-2:] and place != ours)


def _tags(config: Config, data: Data) -> dict[str, str]:
    return origin() | {
        "config.hash": result_hash(config),
        "code.hash": code_hash(),
        "data.fingerprint": data.fingerprint,
        **{f"version.{name}": found for name in PACKAGES if (found := package_version(name))},
    }


def origin() -> dict[str, str]:
    """Return the tags that say where a run comes from: who and what started it, on which machine, from which commit."""
    commit, dirty = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    return {
        "mlflow.user": _user(),
        "mlflow.source.name": Path(sys.argv[0]).name,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        orphans.HOST: platform.node(),
        "pid": str(os.getpid()),
        "python": platform.python_version(),
        **({"mlflow.source.git.commit": commit, "git.dirty": str(bool(dirty)).lower()} if commit else {}),
    }


def as_tags(tags: dict[str, str]) -> list[Any]:
    """Return tags as MLflow takes them."""
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in tags.items()]


def _sweep_tags(connected: "MlflowClient") -> dict[str, str]:
    """Return the tags that make a run part of the sweep that started it, if one did."""
    sweep = os.environ.get(SWEEP)
    if not sweep:
        return {}
    varied = json.loads(find(connected, sweep).data.tags[VARIED])
    ours = {f"{OVERRIDE}{key}": value for key, value in chosen(sys.argv[1:], varied).items()}
    return {PARENT: sweep, JOB_NUMBER: os.environ[JOB], **ours}


def chosen(overrides: Sequence[str], varied: Sequence[str]) -> dict[str, str]:
    """Return the values that a job's overrides give to the keys in which a sweep's jobs differ."""
    given = dict(override.lstrip("+").split("=", 1) for override in overrides if "=" in override)
    return {key: given[key] for key in varied if key in given}


def package_version(name: str) -> str | None:
    """Return the installed version of a package; TensorFlow under either of its names."""
    for candidate in (name, f"{name}-cpu"):
        try:
            return version(candidate)
        except ImportError:
            continue
    return None


def _dataset_inputs(config: Config, data: Data) -> list[Any]:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return [
        DatasetInput(
            dataset=Dataset(
                name=f"{data.name} {name}",
                digest=data.fingerprint,
                source_type="local",
                source=json.dumps({"uri": str(data.root)}),
                profile=json.dumps(split.counts(config.dataset.class_names)),
            ),
            tags=[InputTag("mlflow.data.context", name)],
        )
        for name, split in data.splits.items()
    ]


def _now() -> int:
    return int(time.time() * 1000)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _git(*arguments: str) -> str | None:
    """Ask git about the project; None where it is no checkout or there is no git."""
    try:
        done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def lock(name: str = "") -> FileLock:
    """Return a lock among the processes that share this home."""
    folder = home() / "mlruns"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name}.lock")


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGTERM and a closed terminal into an exception, so that who is asked to end can record it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        raise Interrupted

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.getsignal(getattr(signal, name)) for name in names}
    asked = {name: handler for name, handler in before.items() if handler is not signal.SIG_IGN}  # as under nohup
    try:
        for name in asked:
            signal.signal(getattr(signal, name), interrupt)
        yield
    finally:
        for name, handler in asked.items():
            signal.signal(getattr(signal, name), handler)
