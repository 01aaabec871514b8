"""MesoNet-4: Afchar, Nozick, Yamagishi & Echizen, "MesoNet: a Compact Facial Video Forgery Detection Network", 2018."""

from typing import TYPE_CHECKING

from deepfake import config

if TYPE_CHECKING:
    import keras

# (filters, kernel side, pooling side) of each block: figure 4 of arXiv:1809.00888.
_BLOCKS = ((8, 3, 2), (8, 5, 2), (16, 5, 2), (16, 5, 4))


def meso4(image: "keras.KerasTensor", settings: config.Meso4) -> "keras.KerasTensor":
    """Apply four blocks of convolution, ReLU, batch normalisation and max-pooling, then a hidden layer of 16 units.

    The paper's images are 256 px, which makes 27,977 trainable weights with the head. Pooling pads, so any size works.

    Args:
        image: float32 (N, size, size, 3), 0 to 255, or what a front end made of it.
        settings: The network's options; `dropout` is 0.5 in the paper.

    Returns:
        Features, (N, 16).
    """
    from keras import layers

    x = layers.Rescaling(1 / 255, dtype="float32", name="rescaling")(image)
    for number, (filters, kernel, pool) in enumerate(_BLOCKS, start=1):
        x = layers.Conv2D(filters, kernel, padding="same", activation="relu", name=f"conv_{number}")(x)
        x = layers.BatchNormalization(name=f"bn_{number}")(x)
        x = layers.MaxPooling2D(pool, padding="same", name=f"pool_{number}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dropout(settings.dropout, name="dropout_flat")(x)
    x = layers.Dense(16, name="dense")(x)
    return layers.LeakyReLU(0.1, name="leaky_relu")(x)  # the slope of the authors' own implementation


def meso4_least_size(settings: config.Meso4) -> int:
    """Return 1: pooling pads what does not divide."""
    return 1
