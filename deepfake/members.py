"""The runs whose models an ensemble averages: found, checked to be alike, and the settings of their average."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deepfake import registry, tracking
from deepfake.config import Config, Ensemble, flatten
from deepfake.data.dataset import Data
from deepfake.detector import Detector
from deepfake.errors import DataError, TrackingError

OF_TRAINING = ("augmentation.", "optimizer.", "trainer.", "seed")


@dataclass(frozen=True)
class Member:
    """A finished run: its id, its settings and its detector."""

    run_id: str
    config: Config
    detector: Detector


def find(which: Sequence[str]) -> list[Member]:
    """Find and load the members of an ensemble.

    Args:
        which: Two or more of what `registry.run_of` takes.

    Returns:
        The members, in that order.

    Raises:
        TrackingError: If they are fewer than two or one is named twice; if one is not there, not finished, an ensemble
            itself, or cannot be averaged with the first.
        ModelError: If the files of one are not there or damaged.
    """
    ids = [registry.run_of(name) for name in which]
    if len(ids) < 2:
        raise TrackingError("an ensemble is made of two runs or more: `python -m deepfake runs` lists them")
    for number, (name, run_id) in enumerate(zip(which, ids, strict=True)):
        if run_id in ids[:number]:
            raise TrackingError(f"{which[ids.index(run_id)]} and {name} are the same run, {run_id[:8]}: name it once")
    members = [_load(run_id) for run_id in ids]
    for member in members[1:]:
        _check_alike(members[0], member)
    return members


def settings(members: Sequence[Member]) -> Config:
    """Return the configuration of the members' average.

    Args:
        members: Two or more.

    Returns:
        That of the first, with the largest of their image sizes, and with the members in the place of the model. Where
        they were trained in different ways, `model.mixed` names the settings.
    """
    first = members[0].config
    flat = [flatten(member.config) for member in members]
    trained = sorted({key for one in flat for key in one if key.startswith(OF_TRAINING)})
    model = Ensemble(
        name="ensemble",
        members=[member.run_id[:8] for member in members],
        networks=[member.config.model.name for member in members],
        mixed=[key for key in trained if any(one.get(key) != flat[0].get(key) for one in flat)],
    )
    size = max(member.config.dataset.image_size for member in members)
    return replace(first, resume=None, dataset=replace(first.dataset, image_size=size), model=model)


def check_data(members: Sequence[Member], data: Data) -> None:
    """Raise `DataError` if the images are no longer those that the members were made from."""
    made_from = members[0].detector.card.data["fingerprint"]
    if made_from != data.fingerprint:
        raise DataError(
            f"the images in {data.root} are not those that run {members[0].run_id[:8]} was made from "
            f"(fingerprint {data.fingerprint[:8]}, then {made_from[:8]}): an ensemble is measured on its members' own"
        )


def _load(run_id: str) -> Member:
    run = tracking.find(tracking.client(), run_id)
    if run.info.status != "FINISHED":
        raise TrackingError(f"run {run_id[:8]} is {run.info.status.lower()}: an ensemble is made of finished runs")
    folder = registry.fetch(f"runs:/{run_id}/{registry.ARTIFACT}")
    config = tracking.config_of(run_id)
    if isinstance(config.model, Ensemble):
        raise TrackingError(
            f"run {run_id[:8]} is an ensemble itself: name its members, {' '.join(config.model.members)}"
        )
    return Member(run_id, config, Detector.load(folder))


def _check_alike(first: Member, other: Member) -> None:
    for what, of in {
        "images (data.fingerprint)": lambda card: card.data["fingerprint"][:8],
        "dataset.resize": lambda card: card.resize,
        "dataset.class_names": lambda card: card.class_names,
    }.items():
        one, another = of(first.detector.card), of(other.detector.card)
        if one != another:
            raise TrackingError(
                f"runs {first.run_id[:8]} and {other.run_id[:8]} cannot be averaged: their {what} differ, "
                f"{one} and {another}"
            )
