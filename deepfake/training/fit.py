"""Train a model: batches in, the weights of its best epoch out."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from deepfake.augmentation import augment, augment_pairs, mix
from deepfake.config import Augmentation, Backbone, Config, Residual
from deepfake.data import pairs
from deepfake.data.batches import Plan, Transform, training
from deepfake.data.dataset import Data, Split
from deepfake.errors import DataError, DeepfakeError
from deepfake.models import network
from deepfake.models.scoring import scorer
from deepfake.training import checkpoint, counted, fast, optimizers, precision, standardised
from deepfake.training.bar import Bar
from deepfake.training.checkpoint import Progress
from deepfake.training.profile import Profile, Profiler

Report = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Trained:
    """The outcome of a training.

    Attributes:
        model: With the weights of its best epoch.
        history: Each metric's values, one an epoch.
        best_epoch: Number of the best epoch, from 1.
        profile: Where the time of its steps went; None if the configuration does not ask.
    """

    model: keras.Model
    history: dict[str, list[float]]
    best_epoch: int
    profile: Profile | None


class _Accuracy(keras.metrics.BinaryAccuracy):
    """Share of the images that are called what they are; a mixed image is what most of it is."""

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        super().update_state(tf.cast(y_true >= 0.5, tf.float32), y_pred, sample_weight)


@dataclass(frozen=True)
class Phase:
    """Epochs from `start` to before `stop`, the backbone frozen or not, at `factor` times the learning rate."""

    start: int
    stop: int
    frozen: bool
    factor: float


def train(config: Config, data: Data, path: Path, report: Report) -> Trained:
    """Train the configured model, or continue where a checkpoint stands.

    Args:
        config: The run.
        data: Its Train and Validation are used, nothing else.
        path: Of the checkpoint, written after every epoch, beside the next one.
        report: Called with each epoch's index from 0 and its metrics; also for the epochs that a checkpoint holds.

    Returns:
        The model with its best weights, by validation AUC.

    Raises:
        DataError: If Train has fewer images than a batch.
        DeepfakeError: If the loss or a weight is not finite.
    """
    plan = _plan(config, data)
    progress = checkpoint.load_progress(path)
    for epoch, metrics in enumerate(progress.history):
        report(epoch, metrics)
    _set_seeds(config)
    profiler = Profiler(plan.steps)
    watchers = [profiler] if config.trainer.profile else []
    policy, scope = dtype_policy(precision.choose(config.trainer.precision)), _scope(config.trainer.strategy)
    with policy, scope, checkpoint.Writer(path) as writer:
        model, judged = _networks(config)
        splits, score = data.splits, scorer(judged)
        if counted.pays(config):
            splits = {name: counted.count(judged, data.splits[name], path.parent) for name in ("Train", "Validation")}
            score = scorer(model, dtype=splits["Validation"].images.dtype)
        if progress.history:
            checkpoint.restore_model(path, model)
        for phase in _phases(config):
            done = len(progress.history)
            if done >= phase.stop or _is_over(progress, config):
                continue
            rate = optimizers.schedule(config.optimizer, plan.steps, phase.stop - phase.start, phase.factor)
            _compile(model, config, phase, rate)
            if done > phase.start:
                checkpoint.restore_optimizer(path, model)
            for epoch in range(done, phase.stop):
                rate.scale.assign(optimizers.plateau_scale(config.optimizer, progress.aucs))
                metrics = _train_epoch(model, config, splits["Train"], plan, epoch, watchers)
                with _judging(model, judged):
                    metrics |= _validate(score, splits["Validation"])
                progress.history.append(metrics)
                if progress.best_epoch == epoch:
                    progress.best_weights = judged.get_weights()
                writer.save(progress, model)
                report(epoch, metrics)
                if _is_over(progress, config):
                    break
        judged.set_weights(progress.best_weights)
    history = {name: [epoch[name] for epoch in progress.history] for name in progress.history[0]}
    return Trained(judged, history, progress.best_epoch + 1, profiler.profile)


def class_weights(labels: np.ndarray) -> dict[int, float]:
    """Weigh each class by the inverse of its share, so that both count alike; the mean over all images is 1.

    Args:
        labels: Shape (N,), 0 or 1, both present.

    Returns:
        The weight of each class.
    """
    return {label: len(labels) / (2 * int(count)) for label, count in enumerate(np.bincount(labels, minlength=2))}


@contextmanager
def dtype_policy(name: Literal["float32", "bfloat16"]) -> Iterator[None]:
    """Build models, for a while, that compute in the named format; their weights are float32 either way."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if name == "bfloat16" else name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def examples(config: Config, data: Data, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first images that the configured training shows to its model.

    Args:
        config: The run.
        data: Its Train is used.
        count: Of images, at most; even.

    Returns:
        Images (N, side, side, 3), uint8, and labels (N,), int64; of pairs, the real images come first.
    """
    train = data.splits["Train"]
    batch_size = min(count, len(train.labels) // 2 * 2)
    plan = _plan(replace(config, trainer=replace(config.trainer, batch_size=batch_size)), data)
    images, labels = next(iter(training(train, _transform(config, plan), plan, range(1))))
    return images.numpy(), labels.numpy()[:, 0].astype(np.int64)


def _plan(config: Config, data: Data) -> Plan:
    train, batch_size = data.splits["Train"], config.trainer.batch_size
    paired = _pairs(config, train)
    images = 2 * len(paired) if paired else len(train.labels)
    if images < batch_size:
        raise DataError(f"{data.root}: Train has {images} images, fewer than trainer.batch_size={batch_size}")
    steps = -(-images // batch_size)  # the last batch may be smaller
    steps = min(steps, config.trainer.limit_batches or steps)
    return Plan(batch_size, steps, config.seed, paired, config.augmentation.crop)


def _pairs(config: Config, train: Split) -> pairs.Pairs | None:
    blends = config.augmentation.self_blended
    if blends and blends.only_real:
        return pairs.twins(train)
    if config.trainer.pairs:
        return pairs.match(train)
    return pairs.shuffled(train) if blends else None


def _networks(config: Config) -> tuple[keras.Model, keras.Model]:
    """Build what is trained and what is judged: one model, unless the second takes the first's weights after an epoch.

    That is where the weights that are kept are averages, or plain kernels of standardised ones, or where the training
    sees a part of each picture only, or counts.
    """
    settings, crop = config.model, config.augmentation.crop
    judged = model = network.build(settings, config.dataset.image_size)
    if counted.pays(config):
        return counted.twin(judged), judged
    if crop or config.optimizer.ema:
        model = network.build(network.unloaded(settings), crop or config.dataset.image_size)
        model.set_weights(judged.get_weights())
    if isinstance(settings, Residual) and settings.standardise:
        model = standardised.standardise(model)
    if not fast.pays():
        return model, judged
    trained = fast.accelerate(model)
    return trained, trained if judged is model else fast.accelerate(judged)


@contextmanager
def _judging(model: keras.Model, judged: keras.Model) -> Iterator[None]:
    """Give what is judged the weights of what is trained, which has the averages of its own meanwhile."""
    if judged is model:
        yield
        return
    with model.optimizer.averaged(model.trainable_variables):
        standardised.hand_over(model, judged)
        yield


def _phases(config: Config) -> list[Phase]:
    """Pretrained weights are first left alone while a new head learns; everything else is one phase."""
    epochs, model = config.trainer.epochs, config.model
    if not isinstance(model, Backbone) or model.weights is None or model.frozen_epochs == 0:
        return [Phase(0, epochs, False, 1.0)]
    frozen = min(model.frozen_epochs, epochs)
    return [Phase(0, frozen, True, 1.0), Phase(frozen, epochs, False, model.fine_tune_factor)]


def _compile(model: keras.Model, config: Config, phase: Phase, rate: optimizers.Schedule) -> None:
    if isinstance(config.model, Backbone) and config.model.weights is not None:
        network.freeze(model, config.model) if phase.frozen else network.unfreeze(model)
    model.compile(
        optimizer=optimizers.build(config.optimizer, rate),
        loss=keras.losses.BinaryCrossentropy(label_smoothing=config.trainer.label_smoothing),
        metrics=[_Accuracy(name="accuracy")],
    )
    model.optimizer.build(model.trainable_variables)  # not in the first step, which would be traced twice


def _train_epoch(
    model: keras.Model,
    config: Config,
    split: Split,
    plan: Plan,
    epoch: int,
    watchers: list[keras.callbacks.Callback],
) -> dict[str, float]:
    images = min(plan.steps * plan.batch_size, 2 * len(plan.pairs) if plan.pairs else len(split.labels))
    balanced = config.trainer.class_weights == "balanced" and not plan.pairs  # halves are balanced
    started = time.perf_counter()
    logs = model.fit(
        training(split, _transform(config, plan), plan, range(epoch, epoch + 1)),
        initial_epoch=epoch,
        epochs=epoch + 1,
        steps_per_epoch=plan.steps,
        class_weight=class_weights(split.labels) if balanced else None,
        shuffle=False,  # the batches are drawn in their order already
        verbose=0,
        callbacks=[Bar(f"Epoch {epoch + 1}/{config.trainer.epochs}", plan.batch_size, images), *watchers],
    ).history
    seconds = time.perf_counter() - started
    _check_finite(model, config, epoch, logs["loss"][0])
    return {
        "loss": logs["loss"][0],
        "accuracy": logs["accuracy"][0],
        "learning_rate": _learning_rate(model),  # at the epoch's end
        "images_per_second": images / seconds,
    }


def _check_finite(model: keras.Model, config: Config, epoch: int, loss: float) -> None:
    """Stop a training that is lost. The loss alone does not tell: ReLU turns a NaN into a zero."""
    if np.isfinite(loss) and all(np.isfinite(weight).all() for weight in model.get_weights()):
        return
    if keras.config.dtype_policy().name == "mixed_bfloat16":
        cure = "train with trainer.precision=float32"
    else:
        cure = f"lower optimizer.learning_rate={config.optimizer.learning_rate:g} or set optimizer.clip_norm=1"
    raise DeepfakeError(f"training diverged: weights or loss are not finite after epoch {epoch + 1}; {cure}")


def _transform(config: Config, plan: Plan) -> Transform:
    if counted.pays(config):
        return _as_they_are
    return partial(_augmented, augment_pairs if plan.pairs else augment, config.augmentation)


def _as_they_are(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return images, labels


def _augmented(
    function: Callable, settings: Augmentation, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    return mix(function(images, settings, rng), labels, settings, rng)


def _validate(score: Callable[[np.ndarray], np.ndarray], split: Split) -> dict[str, float]:
    scores = score(split.images)
    return {
        "val_loss": float(log_loss(split.labels, np.clip(scores, 1e-7, 1 - 1e-7))),
        "val_accuracy": float(accuracy_score(split.labels, scores >= 0.5)),
        "val_auc": float(roc_auc_score(split.labels, scores)),
    }


def _is_over(progress: Progress, config: Config) -> bool:
    patience = config.trainer.early_stopping
    return patience is not None and len(progress.history) - 1 - progress.best_epoch >= patience


def _learning_rate(model: keras.Model) -> float:
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))


def _set_seeds(config: Config) -> None:
    if config.trainer.deterministic:
        # Sums are split among the threads, so that as many as launchers grant would decide the last bits.
        with suppress(RuntimeError):  # TensorFlow computes already, with as many as it began with
            tf.config.threading.set_intra_op_parallelism_threads(os.cpu_count() or 1)
        tf.config.experimental.enable_op_determinism()
    keras.utils.clear_session()  # in a sweep, several runs may share this process
    keras.utils.set_random_seed(config.seed)


def _scope(strategy: str) -> AbstractContextManager:
    return tf.distribute.MirroredStrategy().scope() if strategy == "mirrored" else nullcontext()
