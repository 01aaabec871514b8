"""The story of one run, top to bottom. The only module that knows all the others."""

import csv
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfake import registry, tracking
from deepfake.augmentation import augment
from deepfake.config import Backbone, Config
from deepfake.console import metrics_table, out
from deepfake.data import Data, Split, load
from deepfake.detector import Card, Detector, write
from deepfake.errors import ModelError

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

    from deepfake.training.fit import Trained

EVALUATED = ("Validation", "Test")
SHEET = 32  # pictures on a sheet


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
        trained, model = _train(config, data, record)
        scores, metrics, threshold = _evaluate(model, data)
        for split in EVALUATED:
            record.log_metrics(split, metrics[split])
        card = _card(config, data, record.id, metrics, threshold)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            detector = _export(model, card, folder / registry.ARTIFACT)
            _check_export(detector, data.splits["Validation"], scores["Validation"])
            _write_tables(folder, config, data, scores, threshold)
            _draw(folder / "plots", config, data, trained.history, scores["Test"], threshold)
            record.log_artifacts(folder)
        record.tag(best_epoch=str(trained.best_epoch), threshold=f"{threshold:.6f}")
        registered = _register(config, data, record.id, metrics["Validation"]["auc"])
    record.checkpoint.unlink(missing_ok=True)
    _summarise(config, metrics, threshold, trained.best_epoch, registered)
    return metrics["Validation"]["auc"]


def _announce(config: Config, data: Data) -> None:
    out.print(f"[bold]{config.model.name}[/bold] on [bold]{data.name}[/bold], augmentation {config.augmentation.name}")
    for name, split in data.splits.items():
        counts = "  ".join(f"{count} {label}" for label, count in split.counts(config.dataset.class_names).items())
        out.print(f"  {name:<11}{counts}")
    if data.unreadable:
        out.print(f"  left out   {len(data.unreadable)} unreadable files, listed in the run's unreadable.csv")
    if config.dataset.name == "synthetic":
        out.print("  [dim]Drawn by code: its numbers say nothing about real deepfakes.[/dim]")


def _train(config: Config, data: Data, record: tracking.Run) -> tuple["Trained", "keras.Model"]:
    from deepfake import models
    from deepfake.training import fit, precision

    format_name = precision.choose(config.trainer.precision)
    out.print(f"Training in {format_name}, seed {config.seed}, {_weights_line(config, data)}")

    def report(epoch: int, metrics: dict[str, float]) -> None:
        record.log_epoch(epoch, metrics)
        out.print(
            f"  epoch {epoch + 1:>3}/{config.trainer.epochs}  loss {metrics['loss']:.4f}  "
            f"accuracy {metrics['accuracy']:.3f}  val_loss {metrics['val_loss']:.4f}  "
            f"val_auc {metrics['val_auc']:.4f}  {metrics['images_per_second']:.0f} images/s"
        )

    trained = fit.train(config, data, record.checkpoint, report)
    settings = replace(config.model, weights=None) if isinstance(config.model, Backbone) else config.model
    with fit.dtype_policy("float32"):
        model = models.build(settings, config.dataset.image_size)
    model.set_weights(trained.model.get_weights())
    return trained, model


def _weights_line(config: Config, data: Data) -> str:
    from deepfake.training.fit import class_weights

    if config.trainer.class_weights == "none":
        return "classes weighted alike"
    weights = class_weights(data.splits["Train"].labels)
    return "class weights " + ", ".join(
        f"{name} {weights[label]:.3f}" for label, name in enumerate(config.dataset.class_names)
    )


def _evaluate(model: "keras.Model", data: Data) -> tuple[dict[str, np.ndarray], dict[str, dict[str, float]], float]:
    """Score Validation and Test; the threshold comes from Validation alone."""
    from deepfake.evaluation.metrics import choose_threshold, compute
    from deepfake.models.scoring import scorer

    score = scorer(model)
    scores = {split: score(data.splits[split].images) for split in EVALUATED}
    threshold = choose_threshold(data.splits["Validation"].labels, scores["Validation"])
    metrics = {split: compute(data.splits[split].labels, scores[split], threshold) for split in EVALUATED}
    return scores, metrics, threshold


def _card(config: Config, data: Data, run_id: str, metrics: dict[str, dict[str, float]], threshold: float) -> Card:
    return Card(
        class_names=list(config.dataset.class_names),
        input_size=config.dataset.image_size,
        resize=config.dataset.resize,
        threshold=threshold,
        model=config.model.name,
        data={
            "name": data.name,
            "fingerprint": data.fingerprint,
            "counts": {name: split.counts(config.dataset.class_names) for name, split in data.splits.items()},
        },
        metrics={split.lower(): values for split, values in metrics.items()},
        run_id=run_id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={name: version for name in tracking.PACKAGES if (version := tracking.package_version(name))},
    )


def _export(model: "keras.Model", card: Card, folder: Path) -> Detector:
    write(folder, model, card)
    return Detector.load(folder)


def _check_export(detector: Detector, split: Split, scores: np.ndarray) -> None:
    """A model that is read back from its file must say what it said before."""
    difference = float(np.max(np.abs(detector.score(split.images[:SHEET]) - scores[:SHEET])))
    if not difference < 1e-5:
        raise ModelError(
            f"the saved model differs from the trained one by up to {difference:.2g}; it is not registered"
        )


def _write_tables(folder: Path, config: Config, data: Data, scores: dict[str, np.ndarray], threshold: float) -> None:
    names = config.dataset.class_names
    with (folder / "predictions.csv").open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.writer(file)
        table.writerow(["split", "path", "group", "label", "p_fake", "verdict"])
        for split in EVALUATED:
            part = data.splits[split]
            for path, group, label, score in zip(part.paths, part.groups, part.labels, scores[split], strict=True):
                table.writerow([split, path, group, names[label], f"{score:.6f}", names[int(score >= threshold)]])
    with (folder / "unreadable.csv").open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file).writerows([["path", "reason"], *data.unreadable])


def _draw(
    folder: Path, config: Config, data: Data, history: dict[str, list[float]], scores: np.ndarray, threshold: float
) -> None:
    from deepfake.evaluation import plots

    folder.mkdir()
    test, names = data.splits["Test"], config.dataset.class_names
    figures = {
        "curves": plots.curves(history),
        "roc": plots.roc(test.labels, scores, threshold),
        "precision_recall": plots.precision_recall(test.labels, scores, threshold),
        "confusion": plots.confusion(test.labels, scores, threshold, names),
        "histogram": plots.histogram(test.labels, scores, threshold, names),
        "augmented": _augmented_sheet(config, data.splits["Train"]),
        "most_wrong": _most_wrong_sheet(test, scores, threshold, names),
    }
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png")


def _augmented_sheet(config: Config, split: Split) -> "Figure":
    from deepfake.evaluation import plots

    chosen = np.linspace(0, len(split.labels) - 1, min(SHEET, len(split.labels))).astype(int)
    images = augment(split.images[chosen], config.augmentation, np.random.default_rng(config.seed))
    captions = [config.dataset.class_names[split.labels[i]] for i in chosen]
    return plots.sheet(
        images, captions, f"Train images as the model sees them: augmentation {config.augmentation.name}"
    )


def _most_wrong_sheet(split: Split, scores: np.ndarray, threshold: float, names: list[str]) -> "Figure":
    from deepfake.evaluation import plots

    wrong = np.flatnonzero((scores >= threshold) != split.labels)
    worst = wrong[np.argsort(-np.abs(scores[wrong] - split.labels[wrong]), kind="stable")][:SHEET]
    captions = [f"{names[split.labels[i]]}, P(fake) {scores[i]:.2f}" for i in worst]
    return plots.sheet(split.images[worst], captions, "Test images most wrong")


def _register(config: Config, data: Data, run_id: str, auc: float) -> registry.Registered | None:
    if not config.tracking.register:
        return None
    split = data.splits["Validation"]
    return registry.register(run_id, config.tracking.model_name, auc, _auc_on(data.root, split))


def _auc_on(root: Path, split: Split) -> Callable[[Detector], float]:
    """Score another detector on the same images, decoded as that detector wants them."""
    from deepfake.evaluation.metrics import compute

    def auc(detector: Detector) -> float:
        predictions = detector.predict_many([root / path for path in split.paths])
        return compute(split.labels, np.array([p.p_fake for p in predictions]), detector.card.threshold)["auc"]

    return auc


def _summarise(
    config: Config,
    metrics: dict[str, dict[str, float]],
    threshold: float,
    best_epoch: int,
    registered: registry.Registered | None,
) -> None:
    metrics_table(f"\nBest epoch {best_epoch}, threshold {threshold:.3f} (from Validation)", metrics)
    if registered:
        name = config.tracking.model_name
        out.print(
            f"\nRegistered as [bold]{name} version {registered.version}[/bold], {registered.alias}: {registered.reason}"
        )
    out.print("\nNext")
    out.print("  python run.py -m augmentation=none,standard,heavy    [dim]# a sweep[/dim]", markup=True)
    out.print("  python -m deepfake ui                                [dim]# every run, in the browser[/dim]")
    out.print("  python app.py                                        [dim]# the champion, in the browser[/dim]")
    sys.stdout.flush()
