"""From the `optimizer` group to Keras."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from deepfake.config import compose
from deepfake.training import optimizers, precision


def rates(*overrides: str) -> list[float]:
    """The learning rate at the start of each of 10 epochs of 4 steps, and at the end."""
    schedule = optimizers.schedule(compose(list(overrides)).optimizer, steps_per_epoch=4, epochs=10)
    return [float(schedule(step)) for step in range(0, 41, 4)]


def optimizer(*overrides: str) -> keras.Optimizer:
    settings = compose(["optimizer.warmup_epochs=0", *overrides]).optimizer
    return optimizers.build(settings, optimizers.schedule(settings, 4, 10))


@pytest.mark.parametrize(
    ("name", "stock"),
    [("adam", keras.optimizers.Adam), ("adamw", keras.optimizers.AdamW), ("sgd", keras.optimizers.SGD)],
)
def test_every_optimizer_does_what_keras_does(name: str, stock: type[keras.Optimizer]) -> None:
    ours = optimizer(f"optimizer={name}", "optimizer.clip_norm=1", "optimizer.learning_rate=0.01")
    settings = compose([f"optimizer={name}"]).optimizer
    options = {
        key: getattr(settings, key) for key in ("weight_decay", "momentum", "nesterov") if hasattr(settings, key)
    }
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=50).astype("float32"), rng.normal(size=(20, 50)).astype("float32")
    results = []
    for built in (ours, stock(0.01, global_clipnorm=1, **options)):
        weight = keras.Variable(start, name="kernel")
        built.build([weight])
        for gradient in gradients:
            built.apply([keras.ops.array(gradient)])
        results.append(weight.numpy())
    assert np.abs(results[0] - start).max() > 0.01
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)


def test_weight_decay_spares_biases() -> None:
    built = optimizer("optimizer=adamw", "optimizer.weight_decay=1", "optimizer.learning_rate=0.1")
    kernel, bias = keras.Variable([1.0], name="kernel"), keras.Variable([1.0], name="bias")
    built.build([kernel, bias])
    built.apply([keras.ops.zeros(1), keras.ops.zeros(1)])
    assert kernel.numpy()[0] == pytest.approx(0.9)
    assert bias.numpy()[0] == pytest.approx(1)


def test_constant_after_a_warm_up() -> None:
    assert rates("optimizer.warmup_epochs=0") == pytest.approx([1e-3] * 11)
    assert rates("optimizer.warmup_epochs=2") == pytest.approx([1e-3 / 8, 5e-3 / 8] + [1e-3] * 9)


def test_cosine_ends_at_zero() -> None:
    values = rates("optimizer.schedule=cosine", "optimizer.warmup_epochs=0")
    assert values[0] == pytest.approx(1e-3)
    assert values[5] == pytest.approx(5e-4)
    assert values[10] == pytest.approx(0, abs=1e-9)


def test_cosine_after_a_warm_up() -> None:
    values = rates("optimizer.schedule=cosine", "optimizer.warmup_epochs=2")
    assert values[0] < values[1] < values[2] == pytest.approx(1e-3)
    assert values[6] == pytest.approx(5e-4)
    assert values[10] == pytest.approx(0, abs=1e-9)


def test_plateau_halves_the_rate_each_time_it_waited_in_vain() -> None:
    settings = compose(["optimizer.schedule=plateau", "optimizer.plateau_patience=2"]).optimizer
    scales = [optimizers.plateau_scale(settings, [0.6, 0.5, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7][:n]) for n in range(9)]
    assert scales == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert optimizers.plateau_scale(compose([]).optimizer, [0.6, 0.5, 0.5, 0.5]) == 1


def test_precision_is_what_was_asked_for() -> None:
    assert precision.choose("float32") == "float32"
    assert precision.choose("bfloat16") == "bfloat16"


@pytest.mark.parametrize(
    ("flags", "format"), [("avx512f amx_bf16", "bfloat16"), ("avx512f avx512_bf16", "bfloat16"), ("avx512f", "float32")]
)
def test_auto_is_bfloat16_on_processors_that_compute_in_it(
    flags: str, format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = tmp_path / "cpuinfo"
    cpu.write_text(f"model name: a processor\nflags: fpu {flags}\n")
    monkeypatch.setattr(precision, "CPU_INFO", cpu)
    assert precision.has_bfloat16() is (format == "bfloat16")
    if not tf.config.list_physical_devices("GPU"):
        assert precision.choose("auto") == format


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_an_average_of_the_weights_is_kept_beside_them(name: str) -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(
        optimizer(f"optimizer={name}", "optimizer.ema=0.9", "optimizer.warmup_epochs=0"), "mse", jit_compile=False
    )
    inputs, average, weights = np.ones((4, 3), np.float32), None, []
    for _ in range(6):
        model.fit(inputs, np.ones((4, 1), np.float32), verbose=0)
        weights = model.get_weights()
        average = weights if average is None else [0.9 * a + 0.1 * w for a, w in zip(average, weights, strict=True)]
    with model.optimizer.averaged(model.trainable_variables):
        for expected, got in zip(average, model.get_weights(), strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-6)
    for expected, got in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)
