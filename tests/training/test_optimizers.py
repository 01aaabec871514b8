"""From the `optimizer` group to Keras."""

import pytest

from deepfake.config import compose
from deepfake.training import optimizers, precision


def rates(*overrides: str) -> list[float]:
    """The learning rate at the start of each of 10 epochs of 4 steps, and at the end."""
    optimizer = optimizers.build(compose(list(overrides)).optimizer, 4, 10)
    schedule = optimizer._learning_rate
    return [float(schedule(step)) if callable(schedule) else float(schedule) for step in range(0, 41, 4)]


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_every_optimizer_moves_a_weight(name: str) -> None:
    import keras

    optimizer = optimizers.build(compose([f"optimizer={name}", "optimizer.clip_norm=1"]).optimizer, 4, 10)
    weight = keras.Variable([1.0, 1.0], name="kernel")
    optimizer.build([weight])
    optimizer.apply([keras.ops.array([100.0, -100.0])])
    assert weight.numpy()[0] < 1
    assert type(optimizer).__name__.lower() == name
    assert optimizer.global_clipnorm == 1


def test_weight_decay_spares_biases() -> None:
    import keras

    settings = compose(["optimizer=adamw", "optimizer.weight_decay=1", "optimizer.learning_rate=0.1"]).optimizer
    optimizer = optimizers.build(settings, 4, 10)
    kernel, bias = keras.Variable([1.0], name="kernel"), keras.Variable([1.0], name="bias")
    optimizer.build([kernel, bias])
    optimizer.apply([keras.ops.zeros(1), keras.ops.zeros(1)])
    assert kernel.numpy()[0] == pytest.approx(0.9)
    assert bias.numpy()[0] == pytest.approx(1)


def test_constant() -> None:
    assert rates() == pytest.approx([1e-3] * 11)


def test_cosine_ends_at_zero() -> None:
    values = rates("optimizer.schedule=cosine")
    assert values[0] == pytest.approx(1e-3)
    assert values[5] == pytest.approx(5e-4)
    assert values[10] == pytest.approx(0, abs=1e-9)


def test_warm_up_climbs_to_the_rate_and_then_falls() -> None:
    values = rates("optimizer.schedule=cosine", "optimizer.warmup_epochs=2")
    assert values[:3] == pytest.approx([0, 5e-4, 1e-3])
    assert values[10] == pytest.approx(0, abs=1e-9)
    assert max(values) == values[2]


def test_precision_is_what_was_asked_for_and_auto_follows_the_processor() -> None:
    assert precision.choose("float32") == "float32"
    assert precision.choose("bfloat16") == "bfloat16"
    fast = {"avx512_bf16", "amx_bf16"} & precision.cpu_flags()
    assert precision.choose("auto") == ("bfloat16" if fast else "float32")
