"""A fast copy of a model learns what the model itself would have learnt."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from deepfake.config import compose
from deepfake.models import network
from deepfake.training import fast
from deepfake.training.fit import dtype_policy
from deepfake.training.optimizers import FusedAdam

STEPS = 4


def pictures(size: int, number: int = 8) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (number, size, size, 3), dtype=np.uint8)
    return images, (np.arange(number) % 2).astype(np.float32)[:, None]


def both(name: str, size: int) -> tuple[keras.Model, keras.Model]:
    keras.utils.set_random_seed(0)
    stock = network.build(compose([f"model={name}", "model.dropout=0"]).model, size)
    return stock, fast.accelerate(stock)


def learn(model: keras.Model, optimizer: keras.Optimizer) -> np.ndarray:
    """Take some steps, and return all weights in one row."""
    images, labels = pictures(model.input_shape[1])
    model.compile(optimizer, "binary_crossentropy", jit_compile=False)
    for _ in range(STEPS):
        model.train_on_batch(images, labels)
    return np.concatenate([weight.ravel() for weight in model.get_weights() if weight.dtype == np.float32])


@pytest.mark.parametrize(("name", "size"), [("cnn", 32), ("cnn", 35), ("cnn_bn", 16), ("meso4", 32)])
def test_it_learns_the_same_in_float32(name: str, size: int) -> None:
    stock, copy = both(name, size)
    start = np.concatenate([weight.ravel() for weight in stock.get_weights() if weight.dtype == np.float32])
    expected = learn(stock, keras.optimizers.Adam(1e-4))
    got = learn(copy, FusedAdam(1e-4))
    assert np.abs(expected - start).max() > 2e-4
    assert np.abs(got - expected).max() < 2e-5
    assert any(type(layer).__module__ == fast.__name__ for layer in copy.layers)


def test_in_bfloat16_it_is_as_near_to_float32_as_keras_is() -> None:
    results = {}
    for precision in ("float32", "bfloat16"):
        with dtype_policy(precision):
            stock, copy = both("cnn", 32)
        results[precision] = [learn(model, keras.optimizers.SGD(0.1)) for model in (stock, copy)]
    exact = results["float32"][0]
    of_keras, ours = (np.linalg.norm(weights - exact) for weights in results["bfloat16"])
    assert 0 < ours < 1.2 * of_keras


def test_pooling_finds_the_same_pixel_where_several_are_equal() -> None:
    x = tf.constant(np.random.default_rng(0).integers(-2, 3, (2, 7, 9, 3)), tf.bfloat16)
    gradient = tf.constant(np.random.default_rng(1).integers(1, 9, (2, 3, 4, 3)), tf.bfloat16)
    results = []
    for layer in (keras.Sequential([layers.ReLU(), layers.MaxPooling2D()]), fast.ReluMaxPooling2D(dtype="bfloat16")):
        with tf.GradientTape() as tape:
            tape.watch(x)
            pooled = tf.cast(layer(x), tf.bfloat16)
        results.append((pooled, tape.gradient(pooled, x, gradient)))
    (pooled, to_x), (expected_pooled, expected_to_x) = results
    assert tf.reduce_all(pooled == expected_pooled)
    assert tf.reduce_all(to_x == expected_to_x)


def test_a_gradient_that_the_library_spoilt_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = fast.Conv2D(4, 3, dtype="mixed_bfloat16")
    x = tf.random.stateless_normal((2, 8, 8, 3), (0, 0))

    def kernel_gradient() -> np.ndarray:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.cast(layer(x), tf.float32) ** 2)
        return tape.gradient(loss, layer.kernel.value).numpy()

    sound = kernel_gradient()
    original = tf.raw_ops.Conv2DBackpropFilter

    def spoilt(**arguments: object) -> tf.Tensor:
        result = original(**arguments)
        if result.dtype == tf.float32:
            return result
        return tf.concat([result[:, :, :-1], result[:, :, -1:] + float("nan")], axis=2)

    monkeypatch.setattr(tf.raw_ops, "Conv2DBackpropFilter", spoilt)
    # float32 rounds once where bfloat16 may round every product: by how much is the processor's
    np.testing.assert_allclose(kernel_gradient(), sound, rtol=0.01, atol=0.03 * np.abs(sound).max())


def test_the_moving_statistics_are_those_of_keras() -> None:
    images = tf.constant(np.random.default_rng(0).normal(3, 2, (2, 3, 3, 5)), tf.float32)
    stock, copy = (kind(momentum=0.5, dtype="float32") for kind in (layers.BatchNormalization, fast.BatchNormalization))
    np.testing.assert_allclose(copy(images, training=True), stock(images, training=True), atol=1e-5)
    for got, expected in zip(copy.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)
    np.testing.assert_allclose(copy(images), stock(images), atol=1e-5)
