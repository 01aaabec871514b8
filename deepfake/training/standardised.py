"""Weight standardisation: convolutions whose kernels are standardised at each step.

Qiao et al. 2019 (arXiv:1903.10520). A kernel is shifted to mean 0 and scaled to a spread that a learnt gain gives, so
that a net needs no normalisation of its activations (Brock et al. 2021, arXiv:2102.06171), which would take longer than
its convolutions. Only training needs it: what comes out is a plain kernel, which a stock layer takes.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from deepfake.training import fast

EPSILON = 1e-4  # that of Brock et al.


class _Standardised(layers.Layer):
    """What the two layers share: a raw kernel, and the gain of each channel."""

    _axes: tuple[int, ...]  # of the kernel, over which a channel's weights lie

    def _add_weights(self, kernel_shape: tuple[int, ...], channels: int) -> None:
        gain_shape = [1 if axis in self._axes else length for axis, length in enumerate(kernel_shape)]
        self.raw = self.add_weight(name="kernel", shape=kernel_shape, autocast=False)
        self.gain = self.add_weight(name="gain", shape=gain_shape, initializer="ones", autocast=False)
        self.bias = self.add_weight(name="bias", shape=(channels,), initializer="zeros") if self.use_bias else None

    @property
    def kernel(self) -> tf.Tensor:
        """The kernel that is applied, in the format in which the layer computes."""
        return tf.cast(self._standardised(), self.compute_dtype)

    def _standardised(self) -> tf.Tensor:
        raw = tf.convert_to_tensor(self.raw)
        mean, variance = tf.nn.moments(raw, self._axes, keepdims=True)
        return (raw - mean) * tf.math.rsqrt(variance * self._fan_in() + EPSILON) * self.gain

    def _fan_in(self) -> float:
        return float(np.prod([self.raw.shape[axis] for axis in self._axes]))

    def take(self, stock: list[np.ndarray]) -> None:
        """Take over a stock layer's weights, kernel and bias: the kernel but for its mean."""
        kernel, *bias = stock
        spread = np.std(kernel, axis=self._axes, keepdims=True)
        fan_in = self._fan_in()
        raw = kernel / spread * np.sqrt(2 / fan_in)  # of the size that He's initialisation gives, whatever the gain
        self.set_weights([raw, spread * np.sqrt(fan_in), *bias])

    def plain(self) -> list[np.ndarray]:
        """Return the weights of the stock layer that computes the same: kernel and bias."""
        bias = [] if self.bias is None else [self.bias.numpy()]
        return [self._standardised().numpy(), *bias]


class StandardisedConv2D(_Standardised, fast.Conv2D):
    """A convolution with standardised kernels."""

    _axes = (0, 1, 2)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make the weights."""
        self._add_weights((*self.kernel_size, input_shape[-1], self.filters), self.filters)


class StandardisedDepthwiseConv2D(_Standardised, layers.DepthwiseConv2D):
    """A depthwise convolution with standardised kernels."""

    _axes = (0, 1)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make the weights."""
        channels = input_shape[-1]
        self._add_weights((*self.kernel_size, channels, 1), channels)


_STANDARDISED: dict[type[layers.Layer], type[layers.Layer]] = {
    layers.Conv2D: StandardisedConv2D,
    layers.DepthwiseConv2D: StandardisedDepthwiseConv2D,
}


def standardise(model: keras.Model) -> keras.Model:
    """Copy a model onto layers with standardised kernels.

    Args:
        model: A functional model of stock layers. Those that are frozen stay as they are.

    Returns:
        A model that begins where this one does, but for the mean of each kernel.
    """

    def copied(layer: layers.Layer) -> layers.Layer:
        kind = _STANDARDISED.get(type(layer), type(layer)) if layer.trainable else type(layer)
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=copied)
    for layer in model.layers:
        of_copy: Any = copy.get_layer(layer.name)
        take = of_copy.take if isinstance(of_copy, _Standardised) else of_copy.set_weights
        take(layer.get_weights())
    return copy


def hand_over(trained: keras.Model, plain: keras.Model) -> None:
    """Give a model of stock layers what another one has learnt.

    Args:
        trained: Of layers of the same names, some of which may hold their weights in another form. It may lack such as
            are not learnt.
        plain: What is given its weights.
    """
    learnt: dict[str, Any] = {layer.name: layer for layer in trained.layers}
    for layer in plain.layers:
        if layer.weights and layer.name in learnt:
            source = learnt[layer.name]
            layer.set_weights(source.plain() if hasattr(source, "plain") else source.get_weights())
