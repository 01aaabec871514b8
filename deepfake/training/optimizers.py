"""From the `optimizer` group to a Keras optimizer."""

from typing import TYPE_CHECKING

from deepfake.config import Adam, AdamW, Optimizer, Sgd

if TYPE_CHECKING:
    import keras


def build(settings: Optimizer, steps_per_epoch: int, epochs: int, factor: float = 1.0) -> "keras.Optimizer":
    """Make an optimizer with its learning-rate schedule.

    Args:
        settings: The `optimizer` group.
        steps_per_epoch: Training steps in an epoch.
        epochs: Epochs that the schedule spans.
        factor: Factor on the learning rate.

    Returns:
        The optimizer. A `plateau` schedule starts constant; the training loop lowers it.
    """
    import keras

    rate = settings.learning_rate * factor
    if settings.schedule == "cosine":
        rate = _cosine(rate, round(settings.warmup_epochs * steps_per_epoch), epochs * steps_per_epoch)
    common = {"learning_rate": rate, "global_clipnorm": settings.clip_norm}
    match settings:
        case AdamW():
            betas = {"beta_1": settings.beta_1, "beta_2": settings.beta_2}
            optimizer = keras.optimizers.AdamW(weight_decay=settings.weight_decay, **betas, **common)
            optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
            return optimizer
        case Adam():
            return keras.optimizers.Adam(beta_1=settings.beta_1, beta_2=settings.beta_2, **common)
        case Sgd():
            return keras.optimizers.SGD(momentum=settings.momentum, nesterov=settings.nesterov, **common)


def _cosine(rate: float, warmup: int, steps: int) -> "keras.optimizers.schedules.LearningRateSchedule":
    """Cosine decay to zero (Loshchilov & Hutter 2017), after a linear warm-up."""
    import keras

    schedule = keras.optimizers.schedules.CosineDecay
    if not warmup:
        return schedule(rate, steps)
    return schedule(0.0, max(1, steps - warmup), warmup_target=rate, warmup_steps=warmup)
