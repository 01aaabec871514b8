"""Plain convolutional networks."""

from typing import TYPE_CHECKING

from deepfake import config

if TYPE_CHECKING:
    import keras


def cnn(image: "keras.KerasTensor", settings: config.Cnn) -> "keras.KerasTensor":
    """Apply 3x3 convolution, ReLU and 2x2 max-pooling for each of `filters`, then one hidden Dense layer.

    Args:
        image: float32 (N, size, size, 3), 0 to 255, or what a front end made of it.
        settings: The network's options.

    Returns:
        Features, (N, settings.dense).
    """
    from keras import layers

    # To -1..1, not 0..1: what all images have in common then cancels out instead of drowning the small differences
    # that tell them apart. In float32 under any policy: a product in bfloat16 would merge neighbouring grey levels.
    x = layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="rescaling")(image)
    for number, filters in enumerate(settings.filters, start=1):
        x = layers.Conv2D(filters, 3, activation="relu", name=f"conv_{number}")(x)
        x = layers.MaxPooling2D(2, name=f"pool_{number}")(x)
    x = layers.Flatten(name="flatten")(x)
    return layers.Dense(settings.dense, activation="relu", name="dense")(x)


def cnn_least_size(settings: config.Cnn) -> int:
    """Return the least image side in pixels that leaves one pixel after the last pooling."""
    size = 1
    for _ in settings.filters:
        size = 2 * size + 2  # what pooling halves, and the border that the convolution takes off
    return size


def cnn_bn(image: "keras.KerasTensor", settings: config.CnnBn) -> "keras.KerasTensor":
    """Apply two 3x3 convolutions with batch normalisation for each of `filters`, pool between, average at the end.

    Args:
        image: float32 (N, size, size, 3), 0 to 255, or what a front end made of it.
        settings: The network's options.

    Returns:
        Features, (N, settings.filters[-1]).
    """
    from keras import layers

    x = layers.Rescaling(1 / 255, dtype="float32", name="rescaling")(image)
    for stage, filters in enumerate(settings.filters, start=1):
        if stage > 1:
            x = layers.MaxPooling2D(2, name=f"pool_{stage - 1}")(x)
        for unit in (f"{stage}_1", f"{stage}_2"):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv_{unit}")(x)
            x = layers.BatchNormalization(name=f"bn_{unit}")(x)
            x = layers.ReLU(name=f"relu_{unit}")(x)
    return layers.GlobalAveragePooling2D(name="avg_pool")(x)


def cnn_bn_least_size(settings: config.CnnBn) -> int:
    """Return the least image side in pixels that leaves one pixel after the last pooling."""
    return 2 ** (len(settings.filters) - 1)
