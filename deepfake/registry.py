"""The model registry: register a run's detector, choose the champion, find and fetch any model."""

import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

from deepfake import leaderboard, tracking
from deepfake.config import home
from deepfake.detector import CARD_FILE, MODEL_FILE, Detector
from deepfake.errors import DeepfakeError, ModelError, TrackingError
from deepfake.evaluation.bootstrap import Difference

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

MODEL_NAME = "deepfake-detector"
CHAMPION, CHALLENGER = "champion", "challenger"
BEST = "best:"  # before a metric: the run that is best by it
RUN_ID_LEAST = 6  # characters of a run id that may stand for it
ARTIFACT = "model"  # the folder of a run's artifacts that holds its detector


@dataclass(frozen=True)
class Registered:
    """A new version and what became of it: `alias` is champion or challenger, `reason` says why in a few words."""

    version: str
    alias: str
    reason: str


@dataclass(frozen=True)
class Version:
    """A registered version: its number, its aliases, the run that made it and that run's final metrics."""

    number: str
    aliases: list[str]
    run_id: str
    metrics: dict[str, float]


def register(run_id: str, model_name: str, promote_at: float, compare: Callable[[Detector], Difference]) -> Registered:
    """Make a run's detector a version; it becomes champion if it is surely enough better than the champion.

    What was begun before an interruption is completed, not done again.

    Args:
        run_id: A run that holds a detector.
        model_name: Name in the registry.
        promote_at: Probability of being better over which it becomes the champion.
        compare: Gives by how much the new detector's AUC exceeds another's, on the same Validation images.

    Returns:
        The version and its alias.
    """
    from mlflow.exceptions import MlflowException

    client = tracking.client()
    try:
        client.create_registered_model(model_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    with tracking.lock("registry"):  # who is compared with the champion is compared with the one there is
        earlier = client.search_model_versions(f"name = '{model_name}' and run_id = '{run_id}'")
        for given, number in client.get_registered_model(model_name).aliases.items():
            if earlier and str(number) == str(earlier[0].version):
                return Registered(str(number), given, "before the interruption")
        alias, reason = _compare(client, model_name, promote_at, compare)
        source = f"runs:/{run_id}/{ARTIFACT}"
        version = earlier[0].version if earlier else client.create_model_version(model_name, source, run_id).version
        client.set_registered_model_alias(model_name, alias, version)
    return Registered(str(version), alias, reason)


def promote(which: str, model_name: str = MODEL_NAME) -> str:
    """Make a version the champion by hand; the champion before it becomes the challenger.

    Args:
        which: A version number, an alias, the id of the run that made it, or `best:METRIC`.
        model_name: Name in the registry.

    Returns:
        The version's number.

    Raises:
        TrackingError: If there is no such version.
        ModelError: If its files are missing or damaged.
    """
    client = tracking.client()
    version = _find_version(client, which, model_name)
    Detector.load(_folder(client, _maker(version)))
    before = _alias(client, model_name, CHAMPION)
    if before is not None and before.version != version.version:
        client.set_registered_model_alias(model_name, CHALLENGER, before.version)
    client.set_registered_model_alias(model_name, CHAMPION, version.version)
    current = _alias(client, model_name, CHALLENGER)
    if current is not None and current.version == version.version:
        client.delete_registered_model_alias(model_name, CHALLENGER)
    return str(version.version)


def fetch(which: str, model_name: str = MODEL_NAME) -> Path:
    """Return the folder of a detector, downloading it if need be.

    Args:
        which: The path of a detector, an MLflow URI (`models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/ID/model`),
            a version number, an alias, a run id, or `best:METRIC`: of all finished runs, whatever their data, the one
            with the best value of a metric (the highest, or the lowest where less is better) that holds a detector.
        model_name: Name in the registry, for what is no path and no URI.

    Returns:
        A folder with the detector's two files.

    Raises:
        TrackingError: If there is no such model.
        ModelError: If its files are not there.
    """
    return Path(which) if os.path.exists(which) else _folder(tracking.client(), run_of(which, model_name))


def run_of(which: str, model_name: str = MODEL_NAME) -> str:
    """Return the id of the run that made a model.

    Args:
        which: As `fetch` takes it, but no path.
        model_name: Name in the registry.

    Returns:
        The run's id.

    Raises:
        TrackingError: If there is no such model.
        ModelError: If it is a path of nothing.
    """
    uri = re.fullmatch(r"models:/([^/@]+)[/@](.+)", which)
    if uri:
        model_name, which = uri.groups()
    client = tracking.client()
    if which.startswith(BEST):
        return _best(client, which.removeprefix(BEST))
    if which.startswith("runs:/"):
        return tracking.find(client, which.removeprefix("runs:/").partition("/")[0]).info.run_id
    if "/" in which or which.endswith(".h5"):
        raise ModelError(f"{which} is not there")
    return _maker(_find_version(client, which, model_name))


def versions(model_name: str = MODEL_NAME) -> list[Version]:
    """List the versions of a model, the newest first.

    Args:
        model_name: Name in the registry.

    Returns:
        The versions that a run made; none if nothing is registered by that name.
    """
    client = tracking.client()
    found = client.search_model_versions(f"name = '{model_name}'")
    aliases = dict(client.get_registered_model(model_name).aliases) if found else {}
    listed = []
    for version in sorted(found, key=lambda version: -int(version.version)):
        if not version.run_id:  # registered by hand
            continue
        number = str(version.version)
        names = [alias for alias, pointed in sorted(aliases.items()) if str(pointed) == number]
        metrics = dict(client.get_run(version.run_id).data.metrics)
        listed.append(Version(number, names, version.run_id, metrics))
    return listed


def name_of(run_id: str) -> str | None:
    """Return what a run's version is called, like `deepfake-detector version 3`, or None if it was not registered."""
    found = tracking.client().search_model_versions(f"run_id = '{run_id}'")
    return f"{found[0].name} version {found[0].version}" if found else None


def _compare(
    client: "MlflowClient", model_name: str, promote_at: float, compare: Callable[[Detector], Difference]
) -> tuple[str, str]:
    champion = _alias(client, model_name, CHAMPION)
    if champion is None:
        return CHAMPION, "the first one"
    try:
        found = compare(Detector.load(_folder(client, _maker(champion))))
    except DeepfakeError as error:
        hint = "promote this one by hand: python -m deepfake promote VERSION"
        return CHALLENGER, f"the champion, version {champion.version}, cannot be compared ({error}); {hint}"
    reason = (
        f"validation AUC {found.value:+.4f} against the champion, version {champion.version}; "
        f"better with probability {found.probability:.2f}, {promote_at:g} is asked"
    )
    return (CHAMPION if found.probability > promote_at else CHALLENGER), reason


def _best(client: "MlflowClient", metric: str) -> str:
    """Return the id of the finished run that is best by a metric, of those that hold a detector."""
    finished = [row for row in leaderboard.rows() if row["status"] == "FINISHED"]
    if not finished:
        raise TrackingError(f"{BEST}{metric}: no run is finished yet, `python run.py` trains one")
    # Those of an epoch are left out: they are of the last epoch, and the weights of the best one are kept.
    known = {name for row in finished for name in row["metrics"] if not name.startswith("epoch/")}
    if metric not in known:
        raise TrackingError(f"{BEST}{metric}: there is no such metric; there are {', '.join(sorted(known))}")
    for row in leaderboard.order([row for row in finished if metric in row["metrics"]], metric):
        with suppress(ModelError):
            _folder(client, row["run_id"])
            return row["run_id"]
    raise ModelError(f"{BEST}{metric}: the files of every run that has it are gone; was mlruns/ cleaned?")


def _find_version(client: "MlflowClient", which: str, model_name: str) -> "ModelVersion":
    from mlflow.exceptions import MlflowException

    which = _best(client, which.removeprefix(BEST)) if which.startswith(BEST) else which
    try:
        if which.isdigit() and len(which) < RUN_ID_LEAST:
            return client.get_model_version(model_name, which)
        return client.get_model_version_by_alias(model_name, which)
    except MlflowException:
        pass
    if re.fullmatch(f"[0-9a-f]{{{RUN_ID_LEAST},32}}", which):
        run = tracking.find(client, which)
        found = client.search_model_versions(f"run_id = '{run.info.run_id}'")
        if found:
            return found[0]
        raise TrackingError(f"run {which} has no registered version; name it runs:/{run.info.run_id}/{ARTIFACT}")
    if not client.search_model_versions(f"name = '{model_name}'"):
        raise TrackingError(f"no model is registered as {model_name} yet: `python run.py` trains and registers one")
    raise TrackingError(f"{model_name} has no version, alias or run {which}: `python -m deepfake runs` lists them")


def _maker(version: "ModelVersion") -> str:
    """Return the id of the run that made a version; what was registered by hand need not have one."""
    if not version.run_id:
        raise TrackingError(f"{version.name} version {version.version} was made by no run: choose another version")
    return version.run_id


def _alias(client: "MlflowClient", model_name: str, alias: str) -> "ModelVersion | None":
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(model_name, alias)
    except MlflowException:
        return None


def _folder(client: "MlflowClient", run_id: str) -> Path:
    """Return the folder of a run's detector: where it lies, or, from a server, a copy that is fetched once."""
    from mlflow.exceptions import MlflowException

    place = urlparse(tracking.find(client, run_id).info.artifact_uri)
    if place.scheme in ("", "file"):
        folder = Path(url2pathname(place.path), ARTIFACT)
        for before in tracking.elsewhere([folder.parents[2]]):
            raise ModelError(f"run {run_id}: mlruns/ was moved or copied from {before.parent}: {tracking.RELOCATE}")
    else:
        folder = home() / "mlruns" / "downloads" / run_id / ARTIFACT
        if not folder.is_dir():
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
                    Path(client.download_artifacts(run_id, ARTIFACT, partial)).rename(folder)
            except (MlflowException, OSError) as error:
                raise ModelError(f"run {run_id}: its model cannot be fetched ({str(error).splitlines()[0]})") from None
    for name in (MODEL_FILE, CARD_FILE):
        if not (folder / name).is_file():
            raise ModelError(
                f"run {run_id}: {name} is not in {folder}; was mlruns/ cleaned? If moved, {tracking.RELOCATE}"
            )
    return folder
