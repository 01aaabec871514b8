"""Kernels that are standardised while a net trains, and plain ones afterwards."""

import keras
import numpy as np
import pytest

from deepfake.config import compose
from deepfake.models import network
from deepfake.training import fast, standardised
from deepfake.training.fit import dtype_policy
from deepfake.training.optimizers import FusedAdam

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
LABELS = (np.arange(8) % 2).astype(np.float32)[:, None]


def build(*overrides: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    return network.build(
        compose(["model=residual", "model.filters=[8,16]", "model.blocks=[1,1]", *overrides]).model, 32
    )


def said(model: keras.Model) -> np.ndarray:
    return model.predict(IMAGES, verbose=0)


@pytest.mark.parametrize("block", ["plain", "inverted"])
def test_what_was_learnt_is_handed_over_to_stock_layers(block: str) -> None:
    stock = build(f"model.block={block}")
    model = fast.accelerate(standardised.standardise(stock))
    model.compile(FusedAdam(1e-2), "binary_crossentropy", jit_compile=False)
    before = said(model)
    for _ in range(3):
        model.train_on_batch(IMAGES, LABELS)
    standardised.hand_over(model, stock)
    assert np.abs(said(model) - before).max() > 1e-3
    np.testing.assert_allclose(said(stock), said(model), atol=1e-5)
    assert all(type(layer).__module__.startswith("keras.") for layer in stock.layers)


def test_kernels_have_mean_zero_and_the_spread_of_their_gain() -> None:
    model = standardised.standardise(build())
    layer = model.get_layer("down_2")
    kernel = layer.plain()[0]
    assert np.abs(kernel.mean(axis=(0, 1, 2))).max() < 1e-6
    spread = kernel.std(axis=(0, 1, 2)) * np.sqrt(np.prod(kernel.shape[:-1]))
    np.testing.assert_allclose(spread, layer.gain.numpy().ravel(), rtol=1e-3)


def test_it_begins_as_the_stock_model_does_but_for_the_means() -> None:
    stock = build()
    for layer in stock.layers:
        if "kernel" in [weight.name for weight in layer.weights] and len(layer.get_weights()[0].shape) == 4:
            kernel, *bias = layer.get_weights()
            axes = (0, 1) if "depthwise" in layer.name else (0, 1, 2)
            layer.set_weights([kernel - kernel.mean(axis=axes, keepdims=True), *bias])
    np.testing.assert_allclose(said(standardised.standardise(stock)), said(stock), atol=2e-3)


def test_in_bfloat16_statistics_are_of_the_float32_kernel() -> None:
    exact = standardised.standardise(build())
    with dtype_policy("bfloat16"):
        model = standardised.standardise(build())
    for layer in exact.layers:
        if hasattr(layer, "plain"):
            np.testing.assert_allclose(model.get_layer(layer.name).plain()[0], layer.plain()[0], rtol=1e-5, atol=1e-7)


def test_a_frozen_front_end_stays_as_it_is() -> None:
    stock = build("model.front_end=srm")
    model = standardised.standardise(stock)
    frozen = [layer.name for layer in stock.layers if layer.weights and not layer.trainable]
    assert frozen
    for name in frozen:
        assert type(model.get_layer(name)) is type(stock.get_layer(name))
        for ours, theirs in zip(model.get_layer(name).get_weights(), stock.get_layer(name).get_weights(), strict=True):
            assert np.array_equal(ours, theirs)
