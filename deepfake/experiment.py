"""The story of one run, top to bottom. The only module that knows all the others."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfake import registry, tracking
from deepfake.augmentation import augment
from deepfake.config import Backbone, Config
from deepfake.console import metrics_table, out, table
from deepfake.data import Data, Split, load
from deepfake.detector import Card, Detector, write
from deepfake.errors import ModelError

if TYPE_CHECKING:
    import keras

    from deepfake.training.fit import Trained
    from deepfake.training.profile import Profile

EVALUATED = ("Validation", "Test")
PICTURES = 32  # on a sheet


@dataclass(frozen=True)
class Evaluation:
    """P(fake) of every image and the metrics, by split, at the threshold that Validation gave."""

    scores: dict[str, np.ndarray]
    metrics: dict[str, dict[str, float]]
    threshold: float


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
    data = load(config.dataset)
    _announce(config, data)
    with tracking.run(config, data) as record:
        out.print(f"Run {record.id}  [dim](interrupted, it goes on with: python run.py resume={record.id})[/dim]")
        trained = _train(config, data, record)
        model = _in_float32(config, trained.model)
        evaluation = _evaluate(model, data)
        for split, metrics in evaluation.metrics.items():
            record.log_metrics(split, metrics)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            write(folder / registry.ARTIFACT, model, _card(config, data, record.id, evaluation))
            _check_export(folder / registry.ARTIFACT, data.splits["Validation"], evaluation)
            _write_report(folder, config, data, trained, evaluation)
            record.log_artifacts(folder)
        record.tag(best_epoch=str(trained.best_epoch), threshold=f"{evaluation.threshold:.6f}")
        registered = _register(config, data, record.id, evaluation.metrics["Validation"]["auc"])
    record.checkpoint.unlink(missing_ok=True)
    _summarise(config, trained, evaluation, registered)
    return evaluation.metrics["Validation"]["auc"]


def _announce(config: Config, data: Data) -> None:
    out.print(f"[bold]{config.model.name}[/bold] on [bold]{data.name}[/bold], augmentation {config.augmentation.name}")
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
    from deepfake import models
    from deepfake.training.fit import dtype_policy

    settings = replace(config.model, weights=None) if isinstance(config.model, Backbone) else config.model
    with dtype_policy("float32"):
        model = models.build(settings, config.dataset.image_size)
    model.set_weights(trained.get_weights())
    return model


def _evaluate(model: "keras.Model", data: Data) -> Evaluation:
    from deepfake.evaluation.metrics import choose_threshold, compute
    from deepfake.models.scoring import scorer

    score = scorer(model)
    scores = {split: score(data.splits[split].images) for split in EVALUATED}
    threshold = choose_threshold(data.splits["Validation"].labels, scores["Validation"])
    metrics = {split: compute(data.splits[split].labels, scores[split], threshold) for split in EVALUATED}
    return Evaluation(scores, metrics, threshold)


def _card(config: Config, data: Data, run_id: str, evaluation: Evaluation) -> Card:
    names = config.dataset.class_names
    return Card(
        class_names=list(names),
        input_size=config.dataset.image_size,
        resize=config.dataset.resize,
        threshold=evaluation.threshold,
        model=config.model.name,
        data={
            "name": data.name,
            "fingerprint": data.fingerprint,
            "counts": {name: split.counts(names) for name, split in data.splits.items()},
        },
        metrics={split.lower(): metrics for split, metrics in evaluation.metrics.items()},
        run_id=run_id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={name: version for name in tracking.PACKAGES if (version := tracking.package_version(name))},
    )


def _check_export(folder: Path, validation: Split, evaluation: Evaluation) -> None:
    """A model that is read back from its file must say what it said before."""
    again = Detector.load(folder).score(validation.images[:PICTURES])
    difference = float(np.max(np.abs(again - evaluation.scores["Validation"][:PICTURES])))
    if not difference < 1e-5:
        raise ModelError(f"the saved model differs from the trained one by {difference:.2g}, so it is not registered")


def _write_report(folder: Path, config: Config, data: Data, trained: "Trained", evaluation: Evaluation) -> None:
    from deepfake.evaluation import report

    names, threshold, train = config.dataset.class_names, evaluation.threshold, data.splits["Train"]
    evaluated = {split: data.splits[split] for split in EVALUATED}
    report.write_predictions(folder / "predictions.csv", evaluated, evaluation.scores, threshold, names)
    report.write_unreadable(folder / "unreadable.csv", data.unreadable)
    if trained.profile:
        report.write_profile(folder / "profile.csv", trained.profile)
    plots = folder / "plots"
    plots.mkdir()
    report.draw_plots(plots, trained.history, data.splits["Test"], evaluation.scores["Test"], threshold, names)
    chosen = np.linspace(0, len(train.labels) - 1, min(PICTURES, len(train.labels))).astype(int)
    images = augment(train.images[chosen], config.augmentation, np.random.default_rng(config.seed))
    report.draw_augmented(plots / "augmented.png", images, train.labels[chosen], names, config.augmentation.name)


def _register(config: Config, data: Data, run_id: str, auc: float) -> registry.Registered | None:
    if not config.tracking.register:
        return None
    validate = _auc_on(data.root, data.splits["Validation"])
    return registry.register(run_id, config.tracking.model_name, auc, validate)


def _auc_on(root: Path, split: Split) -> Callable[[Detector], float]:
    """Score another detector on the same images, decoded as that detector wants them."""
    from deepfake.evaluation.metrics import compute

    def auc(detector: Detector) -> float:
        predictions = detector.predict_many([root / path for path in split.paths])
        return compute(split.labels, np.array([p.p_fake for p in predictions]), detector.card.threshold)["auc"]

    return auc


def _summarise(
    config: Config, trained: "Trained", evaluation: Evaluation, registered: registry.Registered | None
) -> None:
    title = f"\nBest epoch {trained.best_epoch}, threshold {evaluation.threshold:.3f} (from Validation)"
    metrics_table(title, evaluation.metrics)
    if trained.profile:
        _show_profile(trained.profile)
    if registered:
        version = f"[bold]{config.tracking.model_name} version {registered.version}[/bold]"
        out.print(f"Registered as {version}, {registered.alias}: {registered.reason}")
    if tracking.SWEEP in os.environ:
        return
    out.print("\nNext")
    out.print("  python run.py -m augmentation=none,standard,heavy    [dim]# a sweep[/dim]")
    out.print("  python -m deepfake ui                                [dim]# every run, in the browser[/dim]")
    out.print("  python app.py                                        [dim]# the champion, in the browser[/dim]")


def _show_profile(profile: "Profile") -> None:
    title = f"A step took {profile.step:.1f} ms. Its operations, some of them side by side (each: profile.csv)"
    rows = [[kind, f"{ms:.1f}", f"{ms / profile.step:.0%}"] for kind, ms in profile.by_kind().items()]
    table(title, ["", "ms", "of the step"], rows)
