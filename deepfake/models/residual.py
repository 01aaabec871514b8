"""Residual networks without normalisation of activations, so that they train fast on a processor and in bfloat16."""

from typing import TYPE_CHECKING, Any

from deepfake import config

if TYPE_CHECKING:
    import keras

# Variance of a block's last kernel relative to He's initialisation: blocks that begin near zero keep a deep net without
# normalisation from exploding (Zhang, Dauphin & Ma 2019, arXiv:1901.09321).
_BRANCH_VARIANCE = 0.3**2
_EXPANSION = 2  # channels inside an inverted block, relative to those outside


def residual(image: "keras.KerasTensor", settings: config.Residual) -> "keras.KerasTensor":
    """Apply a 5x5 convolution, then stages of residual blocks, and average over the image.

    A `plain` block is that of He et al. 2016 (arXiv:1603.05027) without normalisation; an `inverted` one that of
    MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381).

    Args:
        image: float32 (N, size, size, channels), 0 to 255, or what a front end made of it.
        settings: The network's options.

    Returns:
        Features, (N, settings.filters[-1]).
    """
    from keras import layers

    block = {"plain": _plain, "inverted": _inverted}[settings.block]
    x = layers.Rescaling(1 / 64, offset=-2.0, dtype="float32", name="rescaling")(image)  # a spread of about 1
    x = _conv(settings.filters[0], 5, "stem", strides=settings.stem_stride)(x)
    for stage, (filters, blocks) in enumerate(zip(settings.filters, settings.blocks, strict=True), start=1):
        if stage > 1:
            x = layers.ReLU(name=f"relu_{stage}")(x)
            x = _conv(filters, 3, f"down_{stage}", strides=2)(x)
        for number in range(1, blocks + 1):
            branch = block(x, filters, f"{stage}_{number}")
            x = layers.Add(name=f"add_{stage}_{number}")([x, branch])
    x = layers.ReLU(name="relu")(x)
    return layers.GlobalAveragePooling2D(name="avg_pool")(x)


def residual_least_size(settings: config.Residual) -> int:
    """Return the least image side in pixels that leaves one pixel in the last stage."""
    return settings.stem_stride * 2 ** (len(settings.filters) - 1)


def _plain(x: "keras.KerasTensor", filters: int, name: str) -> "keras.KerasTensor":
    from keras import layers

    x = layers.ReLU(name=f"relu_{name}")(x)
    x = _conv(filters, 3, f"conv_{name}", activation="relu")(x)
    return _conv(filters, 3, f"out_{name}", use_bias=False, kernel_initializer=_he(_BRANCH_VARIANCE))(x)


def _inverted(x: "keras.KerasTensor", filters: int, name: str) -> "keras.KerasTensor":
    from keras import layers

    x = _conv(_EXPANSION * filters, 1, f"wide_{name}", activation="relu")(x)
    x = layers.DepthwiseConv2D(
        3, padding="same", activation="relu", depthwise_initializer=_he_of_nine(), name=f"depthwise_{name}"
    )(x)
    return _conv(filters, 1, f"out_{name}", use_bias=False, kernel_initializer=_he(_BRANCH_VARIANCE))(x)


def _conv(filters: int, side: int, name: str, **options: Any) -> "keras.Layer":
    from keras import layers

    options.setdefault("kernel_initializer", _he(1.0))
    return layers.Conv2D(filters, side, padding="same", name=name, **options)


def _he(variance: float) -> "keras.Initializer":
    """Draw weights whose sums keep the spread of what goes in past a ReLU (He et al. 2015, arXiv:1502.01852)."""
    from keras import initializers

    return initializers.VarianceScaling(2.0 * variance, "fan_in", "untruncated_normal")


def _he_of_nine() -> "keras.Initializer":
    """Draw 3x3 depthwise weights likewise: each sum is over nine pixels, which Keras counts once for each channel."""
    from keras import initializers

    return initializers.RandomNormal(stddev=(2 / 9) ** 0.5)
