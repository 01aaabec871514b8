"""From the `optimizer` group to a Keras optimizer and its learning rate."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from deepfake import config
from deepfake.config import Adam, AdamW, Optimizer


class _Averaging(keras.optimizers.Optimizer):
    """An optimizer that keeps an average of the weights, if `use_ema` says so, and leaves them as they are."""

    def finalize_variable_values(self, variables: list[keras.Variable]) -> None:
        """Do nothing: Keras calls this at the end of each `fit`, which is an epoch here, and the training goes on."""

    @contextmanager
    def averaged(self, variables: list[keras.Variable]) -> Iterator[None]:
        """Give weights the values of their averages, if there are any, for a while."""
        before = [variable.numpy() for variable in variables]
        super().finalize_variable_values(variables)
        try:
            yield
        finally:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)


class FusedAdam(_Averaging, keras.optimizers.Adam):
    """Keras's Adam, and with `weight_decay` its AdamW, in one pass over a weight instead of a dozen."""

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Update one weight and its two moments."""
        step = ops.cast(self.iterations + 1, variable.dtype)
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=ops.power(ops.cast(self.beta_1, variable.dtype), step),
            beta2_power=ops.power(ops.cast(self.beta_2, variable.dtype), step),
            lr=ops.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=ops.cast(gradient, variable.dtype),
        )


class Sgd(_Averaging, keras.optimizers.SGD):
    """Keras's stochastic gradient descent."""


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate at each step: a linear warm-up, then constant or a cosine to zero, times a scale.

    The warm-up is what keeps the seed's net alive. Its Dense layer sums tens of thousands of positive inputs, so Adam's
    first steps, all of full size and alike in sign, would shift every sum by far more than its spread, and leave most
    units at zero for every image (Ma & Yarats 2021 on warm-up for Adam; cosine: Loshchilov & Hutter 2017).

    Attributes:
        scale: A variable factor on the rate; `plateau` lowers it.
    """

    def __init__(self, rate: float, warmup_steps: int, cosine_steps: int | None) -> None:
        """Make a schedule.

        Args:
            rate: The highest rate.
            warmup_steps: Steps until the rate is reached; 0 for none.
            cosine_steps: Steps until a cosine has taken it to zero; None to hold it.
        """
        super().__init__()
        self._rate, self._warmup_steps, self._cosine_steps = rate, warmup_steps, cosine_steps
        self.scale = keras.Variable(1.0, trainable=False, name="scale")

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        """Return the learning rate of a step, counted from 0."""
        step = ops.cast(step, "float32")
        rate = self._rate * self.scale
        if self._cosine_steps is not None:
            after = (step - self._warmup_steps) / max(1, self._cosine_steps - self._warmup_steps)
            rate = rate * 0.5 * (1 + ops.cos(np.pi * ops.clip(after, 0.0, 1.0)))
        return rate * ops.minimum(1.0, (step + 1) / self._warmup_steps) if self._warmup_steps else rate


def schedule(settings: Optimizer, steps_per_epoch: int, epochs: int, factor: float = 1.0) -> Schedule:
    """Make the learning-rate schedule of some epochs.

    Args:
        settings: The `optimizer` group.
        steps_per_epoch: Training steps in an epoch.
        epochs: Epochs that the schedule spans.
        factor: Factor on the learning rate.

    Returns:
        The schedule. `plateau` is constant here: the training loop lowers its scale.
    """
    cosine_steps = epochs * steps_per_epoch if settings.schedule == "cosine" else None
    return Schedule(settings.learning_rate * factor, round(settings.warmup_epochs * steps_per_epoch), cosine_steps)


def plateau_scale(settings: Optimizer, aucs: list[float]) -> float:
    """Return the scale that `plateau` has come to.

    Args:
        settings: The `optimizer` group.
        aucs: Validation AUC of each epoch so far.

    Returns:
        `plateau_factor` to the power of how often `plateau_patience` epochs in a row brought no new best; 1 for the
        other schedules.
    """
    scale, best = 1.0, 0
    for epoch, auc in enumerate(aucs):
        best = epoch if auc > aucs[best] else best
        if settings.schedule == "plateau" and epoch > best and (epoch - best) % settings.plateau_patience == 0:
            scale *= settings.plateau_factor
    return scale


def build(settings: Optimizer, rate: Schedule) -> keras.Optimizer:
    """Make an optimizer.

    Args:
        settings: The `optimizer` group.
        rate: Its schedule.

    Returns:
        The optimizer.
    """
    common = {"learning_rate": rate, "global_clipnorm": settings.clip_norm}
    if settings.ema:
        common |= {"use_ema": True, "ema_momentum": settings.ema}
    match settings:
        case AdamW():
            betas = {"beta_1": settings.beta_1, "beta_2": settings.beta_2}
            optimizer = FusedAdam(weight_decay=settings.weight_decay, **betas, **common)
            optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "gain"])
            return optimizer
        case Adam():
            return FusedAdam(beta_1=settings.beta_1, beta_2=settings.beta_2, **common)
        case config.Sgd():
            return Sgd(momentum=settings.momentum, nesterov=settings.nesterov, **common)
