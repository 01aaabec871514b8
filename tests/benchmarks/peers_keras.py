"""What stock Keras and TensorFlow do, as contestants: as its documentation shows it, in float32."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import radians, tan
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.benchmarks.duel import EpochPairs, Turn
from tests.benchmarks.ours import FOREVER, configure, one_image

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from deepfake.config import Augmentation, Cnn, Config

BORDERS = {"reflect": "reflect", "edge": "nearest", "black": "constant"}


def generator_epochs(turn: Turn, root: Path) -> None:
    """Train from `flow_from_directory`; a round and its result are those of `ours.epochs`."""
    config = configure(root, *FOREVER)
    _fit_forever(turn, config, _flow(config))


def generator_batches(turn: Turn, root: Path, threads: int) -> None:
    """Iterate over `flow_from_directory`; a round is a pass over Train, its result the images a second."""
    flow = _flow(configure(root))
    with ThreadPoolExecutor(threads) as pool:
        while True:
            started = time.perf_counter()
            made = (
                map(flow.__getitem__, range(len(flow)))
                if threads == 1
                else pool.map(flow.__getitem__, range(len(flow)))
            )
            images = sum(len(pixels) for pixels, _ in made)
            turn(images / (time.perf_counter() - started))


def dataset_epochs(turn: Turn, root: Path, cached: bool) -> None:
    """Train from `image_dataset_from_directory` and random layers; a round and its result are those of `ours.epochs`.

    With `cached`, the decoded images are kept in memory, as TensorFlow's tutorials do.
    """
    import tensorflow as tf

    config = configure(root, *FOREVER)
    batches = _dataset(config)
    layers = _random_layers(config.augmentation)
    batches = batches.cache() if cached else batches
    batches = batches.map(lambda pixels, label: (layers(pixels, training=True), label), tf.data.AUTOTUNE)
    _fit_forever(turn, config, batches.prefetch(tf.data.AUTOTUNE))


def kernels(turn: Turn, dtype: str, repeats: int) -> None:
    """Run a step's convolutions and matrix products alone, one by one; a round's result is the sum of their seconds."""
    config = configure(Path())
    calls = list(_kernels(config.model, config.dataset.image_size, config.trainer.batch_size, dtype))
    while True:
        turn(sum(_seconds_of(call, repeats) for call in calls))


def call_model(turn: Turn, folder: Path, repeats: int) -> None:
    """Call a detector's model, compiled by `tf.function`, on one image; a round's result is the seconds for one."""
    import tensorflow as tf

    from deepfake import Detector

    model, pixels = Detector.load(folder).model, one_image()[None].astype(np.float32)
    bare = tf.function(lambda images: model(images, training=False))
    while True:
        started = time.perf_counter()
        for _ in range(repeats):
            bare(tf.constant(pixels)).numpy()
        turn((time.perf_counter() - started) / repeats)


def _flow(config: "Config") -> Any:
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    settings = config.augmentation
    generator = ImageDataGenerator(
        rescale=1 / 255,
        rotation_range=settings.rotation.range[1],
        width_shift_range=settings.shift.range[1],
        height_shift_range=settings.shift.range[1],
        shear_range=settings.shear.range[1],
        zoom_range=settings.zoom.range,
        horizontal_flip=True,
        fill_mode=BORDERS[settings.border],
    )
    side = config.dataset.image_size
    return generator.flow_from_directory(
        Path(config.dataset.root) / "Train",
        target_size=(side, side),
        batch_size=config.trainer.batch_size,
        class_mode="binary",
        classes=config.dataset.class_names,
    )


def _dataset(config: "Config") -> "tf.data.Dataset":
    import keras

    side = config.dataset.image_size
    return keras.utils.image_dataset_from_directory(
        Path(config.dataset.root) / "Train",
        label_mode="binary",
        class_names=config.dataset.class_names,
        batch_size=config.trainer.batch_size,
        image_size=(side, side),
    )


def _random_layers(settings: "Augmentation") -> "keras.Sequential":
    import keras
    from keras import layers

    fill = {"fill_mode": BORDERS[settings.border]}
    shift = settings.shift.range[1]
    return keras.Sequential(
        [
            layers.Rescaling(1 / 255),
            layers.RandomFlip("horizontal"),
            layers.RandomZoom(settings.zoom.range[1] - 1, **fill),
            layers.RandomShear(x_factor=tan(radians(settings.shear.range[1])), **fill),
            layers.RandomRotation(settings.rotation.range[1] / 360, **fill),
            layers.RandomTranslation(shift, shift, **fill),
        ]
    )


def _net(settings: "Cnn", side: int) -> "keras.Model":
    """The small CNN as one writes it in Keras, for pixels of 0 to 1."""
    import keras
    from keras import layers

    net = keras.Sequential([keras.Input((side, side, 3))])
    for filters in settings.filters:
        net.add(layers.Conv2D(filters, 3, activation="relu"))
        net.add(layers.MaxPooling2D())
    net.add(layers.Flatten())
    net.add(layers.Dense(settings.dense, activation="relu"))
    net.add(layers.Dropout(settings.dropout))
    net.add(layers.Dense(1, activation="sigmoid"))
    return net


def _fit_forever(turn: Turn, config: "Config", batches: Any) -> None:
    import keras

    from tests.benchmarks.stopwatch import Stopwatch

    stopwatch = Stopwatch()
    size = config.trainer.batch_size
    pairs = EpochPairs(turn)
    take_turns = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: pairs.end_of_epoch(stopwatch.steps_per_second() * size)
    )
    net = _net(config.model, config.dataset.image_size)
    optimizer = keras.optimizers.Adam(config.optimizer.learning_rate)
    net.compile(optimizer=optimizer, loss="binary_crossentropy", metrics=["accuracy"])
    net.fit(batches, epochs=config.trainer.epochs, verbose=0, callbacks=[stopwatch, take_turns])


def _kernels(settings: "Cnn", side: int, batch: int, dtype: str) -> Iterator[Callable[[], Any]]:
    """Yield a call for each convolution and matrix product of a step, and for their gradients.

    The last layer, of one unit, is left out, and so is the gradient of the pixels, which no step needs.
    """
    import tensorflow as tf

    def random(*shape: int) -> tf.Tensor:
        return tf.cast(tf.random.normal(shape), dtype)

    def compiled(function: Callable[..., Any], *tensors: tf.Tensor) -> Callable[[], Any]:
        graph = tf.function(function)
        return lambda: graph(*tensors)

    channels, options = 3, {"strides": [1, 1, 1, 1], "padding": "VALID"}
    for number, filters in enumerate(settings.filters):
        x, kernel = random(batch, side, side, channels), random(3, 3, channels, filters)
        y = random(batch, side - 2, side - 2, filters)
        yield compiled(lambda x, k: tf.nn.conv2d(x, k, **options), x, kernel)
        yield compiled(
            lambda x, y, shape=kernel.shape: tf.raw_ops.Conv2DBackpropFilter(
                input=x, filter_sizes=shape, out_backprop=y, **options
            ),
            x,
            y,
        )
        if number > 0:
            yield compiled(
                lambda k, y, shape=x.shape: tf.raw_ops.Conv2DBackpropInput(
                    input_sizes=shape, filter=k, out_backprop=y, **options
                ),
                kernel,
                y,
            )
        side, channels = (side - 2) // 2, filters
    features = side * side * channels
    x, weight, y = random(batch, features), random(features, settings.dense), random(batch, settings.dense)
    yield compiled(tf.linalg.matmul, x, weight)
    yield compiled(lambda x, y: tf.linalg.matmul(x, y, transpose_a=True), x, y)
    yield compiled(lambda y, w: tf.linalg.matmul(y, w, transpose_b=True), y, weight)


def _seconds_of(call: Callable[[], Any], repeats: int) -> float:
    """Return the median of some calls, after one that does not count."""
    call()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return median(seconds)
