"""Keras's arithmetic, faster on a processor: layers that take the place of stock ones while a model trains.

They hold the same weights under the same names, in the same order, and compute the same numbers, so that weights move
between a model and its fast copy as they are. What is exported is built of stock layers.

XLA compiles only what lies between the convolutions and matrix products: those are faster in oneDNN.
"""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import layers, tree


def pays() -> bool:
    """Say whether fast layers are made for this machine: on Linux, without a GPU, whose own kernels are fast."""
    return sys.platform == "linux" and not tf.config.list_physical_devices("GPU")


def accelerate(model: keras.Model) -> keras.Model:
    """Copy a model onto fast layers.

    Args:
        model: A functional model of stock layers.

    Returns:
        A model with the same weights and the same outputs, which takes uint8 pixels.
    """
    pools = _pools_of_relu(model)
    relus = {_producer(model, pool).name for pool in pools}

    def fast(layer: layers.Layer) -> layers.Layer:
        options = layer.get_config()
        if layer.name in relus:  # the pooling after it does it
            if isinstance(layer, layers.ReLU):
                return layers.Identity(name=layer.name, dtype=options["dtype"])
            options["activation"] = "linear"
        if type(layer) is layers.Rescaling:
            options["output"] = _next(model, layer).compute_dtype
        kind = ReluMaxPooling2D if layer in pools else _FAST.get(type(layer), type(layer))
        return kind.from_config(options)

    casts = type(_next(model, model.layers[0])) is layers.Rescaling  # or else Keras does, as the model is called
    pixels = keras.Input(model.input_shape[1:], dtype="uint8" if casts else "float32", name="pixels")
    copy = keras.models.clone_model(model, input_tensors=pixels, clone_function=fast)
    copy.set_weights(model.get_weights())
    return copy


def _pools_of_relu(model: keras.Model) -> list[layers.Layer]:
    """Find each 2x2 max-pooling that is alone in using the output of a ReLU."""
    uses = Counter(id(tensor) for layer in model.layers for tensor in tree.flatten(layer.input))
    return [
        layer
        for layer in model.layers
        if type(layer) is layers.MaxPooling2D
        and (layer.pool_size, layer.strides, layer.padding) == ((2, 2), (2, 2), "valid")
        and uses[id(layer.input)] == 1
        and _is_relu(_producer(model, layer))
    ]


def _producer(model: keras.Model, layer: layers.Layer) -> layers.Layer:
    return next(other for other in model.layers if other.output is layer.input)


def _next(model: keras.Model, layer: layers.Layer) -> layers.Layer:
    return next(other for other in model.layers if any(x is layer.output for x in tree.flatten(other.input)))


def _is_relu(layer: layers.Layer) -> bool:
    if type(layer) is layers.ReLU:
        return (layer.max_value, layer.negative_slope, layer.threshold) == (None, 0, 0)
    return type(layer) is layers.Conv2D and layer.activation is keras.activations.relu


# --------------------------------------------------------------------------------------------------------------- layers


class Rescaling(layers.Layer):
    """From uint8 to scaled pixels, in the format in which the next layer computes, in one pass instead of four."""

    def __init__(
        self, scale: float | Sequence[float], offset: float | Sequence[float], output: str, **options: Any
    ) -> None:
        super().__init__(**options)
        self._scale, self._offset, self._output = scale, offset, tf.as_dtype(output)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        scale, offset = (tf.constant(value, self.compute_dtype) for value in (self._scale, self._offset))
        return _rescale(inputs, scale, offset, self._output)


@tf.function(jit_compile=True)
def _rescale(pixels: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, output: tf.DType) -> tf.Tensor:
    return tf.cast(tf.cast(pixels, scale.dtype) * scale + offset, output)


class Conv2D(layers.Conv2D):
    """A convolution whose gradient is sound in bfloat16.

    On processors with AMX, oneDNN's bfloat16 gradient of a kernel (TensorFlow 2.21: 3x3, stride 1, without padding, on
    sides of 63 or 64 pixels) reads past its buffer and multiplies what lies there by zero. Where that happens to be the
    bits of a NaN or an infinity, some of the gradient is NaN; everywhere else it is right. What is not finite is
    computed again, in float32.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        if self.compute_dtype != "bfloat16" or self.groups != 1 or self.data_format != "channels_last":
            return super().convolution_op(inputs, kernel)
        options = {
            "strides": [1, *self.strides, 1],
            "dilations": [1, *self.dilation_rate, 1],
            "padding": self.padding.upper(),
        }

        def kernel_gradient(x: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
            return tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=kernel.shape, out_backprop=gradient, **options)

        @tf.custom_gradient
        def convolve(x: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple]]:
            def backward(gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                to_x = tf.raw_ops.Conv2DBackpropInput(
                    input_sizes=tf.shape(x), filter=k, out_backprop=gradient, **options
                )
                to_k = kernel_gradient(x, gradient)

                def again() -> tf.Tensor:
                    sound = kernel_gradient(tf.cast(x, tf.float32), tf.cast(gradient, tf.float32))
                    return tf.where(tf.math.is_finite(to_k), to_k, tf.cast(sound, to_k.dtype))

                return to_x, tf.cond(tf.reduce_all(tf.math.is_finite(to_k)), lambda: to_k, again)

            return tf.nn.conv2d(x, k, **options), backward

        return convolve(inputs, tf.convert_to_tensor(kernel))


class ReluMaxPooling2D(layers.MaxPooling2D):
    """ReLU, then 2x2 max-pooling, whose gradient takes a tenth of the time of TensorFlow's.

    Floats that are not negative are ordered like the integers of their bits, which XLA compares faster than bfloat16.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return _relu_pool(inputs)


@tf.custom_gradient
def _relu_pool(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    pooled = _relu_pool_forward(x)
    return pooled, lambda gradient: _relu_pool_backward(x, pooled, gradient)


@tf.function(jit_compile=True)
def _relu_pool_forward(x: tf.Tensor) -> tf.Tensor:
    a, b, c, d = _corners(_bits(x))
    return tf.bitcast(tf.maximum(tf.maximum(tf.maximum(a, b), tf.maximum(c, d)), tf.zeros_like(a)), x.dtype)


@tf.function(jit_compile=True)
def _relu_pool_backward(x: tf.Tensor, pooled: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Hand each gradient to the first of four pixels that is the maximum, as TensorFlow does; to none if it is 0."""
    largest = _bits(pooled)
    zero = tf.zeros_like(largest)
    left = tf.where(largest != 0, _bits(gradient), zero)
    parts = []
    for corner in _corners(_bits(x)):
        parts.append(tf.where(corner == largest, left, zero))
        left = tf.where(corner == largest, zero, left)
    rows = tf.stack([tf.stack(parts[:2], axis=3), tf.stack(parts[2:], axis=3)], axis=2)
    height, width = 2 * pooled.shape[1], 2 * pooled.shape[2]
    whole = tf.reshape(rows, (tf.shape(x)[0], height, width, x.shape[3]))
    return tf.bitcast(tf.pad(whole, [[0, 0], [0, x.shape[1] - height], [0, x.shape[2] - width], [0, 0]]), x.dtype)


def _corners(x: tf.Tensor) -> list[tf.Tensor]:
    """Return the four pixels of each 2x2 window, in the order of reading: four tensors (N, H // 2, W // 2, C)."""
    height, width = x.shape[1] // 2, x.shape[2] // 2
    windows = tf.reshape(x[:, : 2 * height, : 2 * width], (tf.shape(x)[0], height, 2, width, 2, x.shape[3]))
    return [windows[:, :, row, :, column] for row in (0, 1) for column in (0, 1)]


def _bits(x: tf.Tensor) -> tf.Tensor:
    return tf.bitcast(x, {2: tf.int16, 4: tf.int32}[x.dtype.size])


class BatchNormalization(layers.BatchNormalization):
    """Batch normalisation through TensorFlow's fused kernel, over an image's last axis."""

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        if not training or not self.trainable or len(inputs.shape) != 4 or mask is not None:
            return super().call(inputs, training=training, mask=mask)
        ones = tf.ones_like(self.moving_variance)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(self.gamma, tf.float32) if self.scale else ones,
            offset=tf.cast(self.beta, tf.float32) if self.center else tf.zeros_like(ones),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
        )
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        biased = variance * (count - 1) / count  # the kernel's is the unbiased estimate, Keras's is not
        for moving, new in ((self.moving_mean, mean), (self.moving_variance, biased)):
            moving.assign(moving * self.momentum + new * (1 - self.momentum))
        return outputs


_FAST: dict[type[layers.Layer], type[layers.Layer]] = {
    layers.Rescaling: Rescaling,
    layers.Conv2D: Conv2D,
    layers.BatchNormalization: BatchNormalization,
}
