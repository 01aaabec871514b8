"""The story of one run, and of one ensemble, top to bottom. The only module that knows all the others."""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfake import members, orphans, outbox, registry, tracking
from deepfake.config import Config, Ensemble, folder_like, recorded
from deepfake.console import findings, metrics_table, number, out, sets_table, table
from deepfake.data import faces
from deepfake.data.audit import Audit, audit
from deepfake.data.dataset import Data, Split, by_name, load, load_test
from deepfake.detector import Card, Detector, write
from deepfake.errors import ConfigError, DataError, ModelError, StoreLostError, told
from deepfake.evaluation.assessment import Assessment, assess, conclusions, for_card, for_record
from deepfake.evaluation.bootstrap import FEWEST, Difference, paired_bootstrap
from deepfake.model_card import MODEL_CARD_FILE, model_card
from deepfake.models.scoring import BATCH
from deepfake.serving import make_servable

if TYPE_CHECKING:
    import keras

    from deepfake.training.fit import Trained
    from deepfake.training.profile import Profile

EVALUATED = ("Validation", "Test")
PICTURES = 32  # on a sheet


@dataclass(frozen=True)
class _Subject:
    """What there is before a model: the settings, the images, others to measure on, and what an audit found."""

    config: Config
    data: Data
    also: dict[str, Split]
    audited: Audit | None


@dataclass(frozen=True)
class _Outcome:
    """What became of a model: its card, all that was measured of it, and its version."""

    card: Card
    assessed: Assessment
    registered: registry.Registered | None


@told()
def run(config: Config) -> float:
    """Train, evaluate, record and register one model.

    Args:
        config: The run.

    Returns:
        AUC on Validation, the number by which runs are compared; Test chooses nothing.

    Raises:
        DeepfakeError: For everything a person can mend; the message says how.
    """
    if config.resume:
        config = tracking.resumed_config(config.resume)
    if isinstance(config.model, Ensemble):
        raise ConfigError("model=ensemble: no such model is trained, `python -m deepfake ensemble RUN RUN` makes one")
    subject = _prepare(config)
    data = subject.data
    with tracking.run(config, data) as record:
        out.print(f"Run {record.id}  [dim](interrupted, it goes on with: python run.py resume={record.id})[/dim]")
        trained = _train(config, data, record)
        _record_training(config, data, trained, record)
        outcome = _conclude(subject, _in_float32(config, trained.model), record)
    record.checkpoint.unlink(missing_ok=True)
    _summarise(config, f"Best epoch {trained.best_epoch}", outcome)
    if trained.profile:
        _show_profile(trained.profile)
    _suggest()
    return outcome.assessed.metrics["Validation"]["auc"]


def ensemble(which: Sequence[str]) -> float:
    """Average the models of finished runs; evaluate, record and register the average as `run` does a trained model.

    Args:
        which: Two or more runs, as `registry.run_of` takes them, that were made from the same images.

    Returns:
        AUC on Validation.

    Raises:
        DeepfakeError: For everything a person can mend; the message says how.
    """
    from deepfake.models.ensemble import average

    found = members.find(which)
    config = members.settings(found)
    subject = _prepare(config)
    members.check_data(found, subject.data)
    with tracking.run(config, subject.data) as record:
        out.print(f"Run {record.id}")
        record.tag(members=" ".join(one.run_id for one in found))
        model = average([one.detector.model for one in found], [one.detector.card.temperature for one in found])
        outcome = _conclude(subject, model, record)
    _summarise(config, f"Average of {len(found)} models", outcome)
    _show_members([one.detector.card for one in found], outcome.card)
    _suggest()
    return outcome.assessed.metrics["Validation"]["auc"]


def sync() -> int:
    """Send what runs recorded while their tracking store did not answer, and register their models.

    Returns:
        How many runs are left that could not be sent.

    Raises:
        TrackingError: If the store does not answer.
    """
    connected, left = tracking.client(), 0
    for run_id in outbox.waiting():
        if orphans.is_alive(tracking.find(connected, run_id)):
            out.print(f"Run {run_id[:8]} is still going on, and sends what it has itself")
            left += 1
            continue
        with outbox.telling(tracking.uri()):
            _send(tracking.Run(connected, run_id))
    return left


def _send(record: tracking.Run) -> None:
    if not record.outbox.send():
        raise StoreLostError(f"the tracking store {tracking.uri()} does not take what run {record.id} recorded")
    told = "all is sent"
    if record.outbox.awaits_registration:
        config = tracking.config_of(record.id)
        data = load(config.dataset)
        scores = Detector.load(registry.fetch(f"runs:/{record.id}/{registry.ARTIFACT}")).score(
            data.splits["Validation"].images
        )
        registered = _register(config, data, record, scores)
        if registered is None:
            raise StoreLostError(f"the tracking store {tracking.uri()} does not take the model of run {record.id}")
        told += f", registered as {config.tracking.model_name} version {registered.version}, {registered.alias}"
        record.outbox.clear()
    out.print(f"Run {record.id[:8]}: {told}")


def _prepare(config: Config) -> _Subject:
    data = load(config.dataset)
    also = {name: other.splits["Test"] for name, other in by_name(_others(config)).items()}
    _announce(config, data)
    return _Subject(config, data, also, _audit(config, data))


def _conclude(subject: _Subject, model: "keras.Model", record: tracking.Run) -> _Outcome:
    """Evaluate, record and register a model."""
    config, data = subject.config, subject.data
    splits = {name: data.splits[name] for name in EVALUATED}
    assessed = assess(model, splits, subject.also, config.evaluation, config.seed)
    for group, metrics in for_record(assessed).items():
        record.log_metrics(group, metrics)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        card = write(folder / registry.ARTIFACT, model, _card(subject, record.id, assessed))
        text = model_card(card, config.tracking.model_name)
        (folder / registry.ARTIFACT / MODEL_CARD_FILE).write_text(text, encoding="utf-8")
        make_servable(folder / registry.ARTIFACT, record.id)
        _check_export(folder / registry.ARTIFACT, data.splits["Validation"], assessed)
        _write_report(folder, subject, assessed, model)
        record.log_artifacts(folder)
    record.tag(threshold=f"{assessed.threshold:.6f}")
    return _Outcome(card, assessed, _register(config, data, record, assessed.scores["Validation"]))


def _others(config: Config) -> list[Data]:
    """Load the other sets before anything is trained, so that a wrong folder is told at once."""
    return [load_test(folder_like(root, config.dataset)) for root in config.evaluation.also]


def _audit(config: Config, data: Data) -> Audit | None:
    if config.dataset.audit == "off":
        return None
    found = audit(data, config.dataset)
    findings(finding for finding in found.findings if finding.severity != "note")
    if config.dataset.audit == "refuse" and not found.fit:
        first = found.findings[0].text
        raise DataError(f"dataset.audit=refuse: {data.name} is not fit to train on: {first}")
    return found


def _announce(config: Config, data: Data) -> None:
    model, shown = config.model, recorded(config)
    how = f"of {' '.join(model.members)} " if isinstance(model, Ensemble) else ""
    augmentation = shown.get("augmentation.name", "mixed")
    out.print(f"[bold]{model.name}[/bold] {how}on [bold]{data.name}[/bold], augmentation {augmentation}")
    for name, split in data.splits.items():
        counts = "  ".join(f"{count} {label}" for label, count in split.counts(config.dataset.class_names).items())
        out.print(f"  {name:<11}{counts}")
    if data.unreadable:
        out.print(f"  left out   {len(data.unreadable)} unreadable files, listed in the run's unreadable.csv")
    if config.dataset.name == "synthetic":
        out.print("  [dim]Drawn by code: its numbers say nothing about real deepfakes.[/dim]")


def _train(config: Config, data: Data, record: tracking.Run) -> "Trained":
    from deepfake.training import fit, precision

    weights = "all images weighted alike"
    if config.trainer.class_weights == "balanced":
        weight_of = fit.class_weights(data.splits["Train"].labels)
        named = (f"{name} {weight_of[label]:.3f}" for label, name in enumerate(config.dataset.class_names))
        weights = f"class weights {', '.join(named)}"
    out.print(f"Training in {precision.choose(config.trainer.precision)}, seed {config.seed}, {weights}")

    def report(epoch: int, metrics: dict[str, float]) -> None:
        record.log_epoch(epoch, metrics)
        out.print(
            f"  epoch {epoch + 1:>3}/{config.trainer.epochs}  loss {metrics['loss']:.4f}  "
            f"accuracy {metrics['accuracy']:.3f}  val_loss {metrics['val_loss']:.4f}  "
            f"val_auc {metrics['val_auc']:.4f}  {metrics['images_per_second']:.0f} images/s"
        )

    return fit.train(config, data, record.checkpoint, report)


def _in_float32(config: Config, trained: "keras.Model") -> "keras.Model":
    """Build the same network in float32, whatever it was trained in, and give it the trained weights."""
    from deepfake.models import network
    from deepfake.training.fit import dtype_policy

    with dtype_policy("float32"):
        model = network.build(network.unloaded(config.model), config.dataset.image_size)
    model.set_weights(trained.get_weights())
    return model


def _card(subject: _Subject, run_id: str, assessed: Assessment) -> Card:
    config, data, audited = subject.config, subject.data, subject.audited
    names = config.dataset.class_names
    framing = faces.measure(data.splits["Train"].images)
    untold = ("tracking.", "dataset.root", "dataset.cache_limit", "dataset.split_file")
    return Card(
        class_names=list(names),
        input_size=config.dataset.image_size,
        resize=config.dataset.resize,
        model=config.model.name,
        data={
            "name": data.name,
            "fingerprint": data.fingerprint,
            "counts": {name: split.counts(names) for name, split in data.splits.items()},
            "findings": [finding.text for finding in audited.findings] if audited else [],
        },
        run_id=run_id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={name: version for name in tracking.PACKAGES if (version := tracking.package_version(name))},
        settings={key: value for key, value in recorded(config).items() if not key.startswith(untold)},
        framing=asdict(framing) if framing else None,
        **for_card(assessed),
    )


def _check_export(folder: Path, validation: Split, assessed: Assessment) -> None:
    """A model that is read back from its file must say what it said before.

    It is asked for the same first batch: for another number of pictures, a GPU may add up in another order.
    """
    again = Detector.load(folder).score(validation.images[:BATCH])
    difference = float(np.max(np.abs(again - assessed.scores["Validation"][:BATCH])))
    if not difference < 1e-4:
        raise ModelError(f"the saved model differs from the trained one by {difference:.2g}, so it is not registered")


def _write_report(folder: Path, subject: _Subject, assessed: Assessment, model: "keras.Model") -> None:
    from deepfake.evaluation import report

    config, data, audited = subject.config, subject.data, subject.audited
    names = config.dataset.class_names
    evaluated = {name: data.splits[name] for name in EVALUATED}
    report.write_predictions(folder / "predictions.csv", evaluated, assessed, names)
    report.write_unreadable(folder / "unreadable.csv", data.unreadable)
    if audited:
        (folder / "audit").mkdir()
        report.write_audit(folder / "audit", data, audited, names)
    plots = folder / "plots"
    worn = {"Test": assessed.robustness} if assessed.robustness else {}
    report.write_measured(plots, assessed.measured, worn)
    report.draw_plots(plots, data.splits["Test"], assessed, names)
    report.draw_explained(plots / "explained.png", model, data.splits["Test"], assessed, names)


def _record_training(config: Config, data: Data, trained: "Trained", record: tracking.Run) -> None:
    """Keep what there is to see of a training."""
    from deepfake.evaluation import report
    from deepfake.training import fit

    names = config.dataset.class_names
    record.tag(best_epoch=str(trained.best_epoch))
    with tempfile.TemporaryDirectory() as scratch:
        plots = Path(scratch, "plots")
        plots.mkdir()
        report.draw_curves(plots / "curves.png", trained.history)
        images, labels = fit.examples(config, data, PICTURES)
        report.draw_augmented(plots / "augmented.png", images, labels, names, config.augmentation.name)
        if trained.profile:
            report.write_profile(Path(scratch, "profile.csv"), trained.profile)
        record.log_artifacts(Path(scratch))


def _register(config: Config, data: Data, record: tracking.Run, scores: np.ndarray) -> registry.Registered | None:
    if not config.tracking.register:
        return None
    compare = _against(data, scores)
    try:
        if record.outbox.send():
            return registry.register(record.id, config.tracking.model_name, config.tracking.promote_at, compare)
    except Exception as error:
        if not outbox.is_lost(error):
            raise
    record.outbox.put_registration()
    return None


def _against(data: Data, scores: np.ndarray) -> Callable[[Detector], Difference]:
    """Compare the scores on Validation with another detector's, which decodes the same files as it wants them."""
    split = data.splits["Validation"]

    def compare(other: Detector) -> Difference:
        count = len(set(split.groups))
        if count < FEWEST:
            raise ModelError(f"{count} groups of Validation images are too few to tell")
        theirs = np.array([found.p_fake for found in other.predict_many(data.contents("Validation"))])
        return paired_bootstrap(split.labels, theirs, scores, split.groups)

    return compare


def _summarise(config: Config, made: str, outcome: _Outcome) -> None:
    assessed, registered = outcome.assessed, outcome.registered
    title = f"\n{made}, threshold {assessed.threshold:.3f} (from Validation)"
    metrics_table(title, assessed.metrics)
    if len(assessed.measured) > len(EVALUATED):
        sets_table("", assessed.measured[1:])
    for line in conclusions(assessed, config.dataset.class_names):
        out.print(line, markup=False)
    if registered:
        version = f"[bold]{config.tracking.model_name} version {registered.version}[/bold]"
        out.print(f"Registered as {version}, {registered.alias}: {registered.reason}")
    if left := outbox.waiting():
        out.print(
            f"[bold]{tracking.uri()} did not take all of {len(left)} runs: python -m deepfake sync[/bold] sends it"
        )


def _suggest() -> None:
    if tracking.SWEEP in os.environ:
        return
    out.print("\nNext")
    out.print("  python run.py -m augmentation=none,standard,heavy    [dim]# a sweep[/dim]")
    out.print("  python -m deepfake ui                                [dim]# every run, in the browser[/dim]")
    out.print("  python app.py                                        [dim]# the champion, in the browser[/dim]")


def _show_members(cards: Sequence[Card], average: Card) -> None:
    """Print what the average is made of, and what it gains."""

    def row(card: Card) -> list[str]:
        aucs = [number(card.metrics[split]["auc"]) for split in ("validation", "test")]
        return [card.run_id[:8], card.model, str(card.input_size), f"{card.temperature:.2f}", *aucs]

    columns = ["run", "model", "px", "temperature", "val AUC", "test AUC"]
    table("", columns, [row(card) for card in [*cards, average]])


def _show_profile(profile: "Profile") -> None:
    title = f"A step took {profile.step:.1f} ms. Its operations, some of them side by side (each: profile.csv)"
    rows = [[kind, f"{ms:.1f}", f"{ms / profile.step:.0%}"] for kind, ms in profile.by_kind().items()]
    table(title, ["", "ms", "of the step"], rows)
