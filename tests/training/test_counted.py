"""`model=rich` and `model=dct` are trained on counts of their patterns where every epoch shows the same pictures."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from deepfake.config import compose
from deepfake.data.dataset import Split
from deepfake.models import network
from deepfake.models.scoring import scorer
from deepfake.training import counted, standardised


def pictures(number: int, size: int) -> Split:
    images = np.random.default_rng(0).integers(90, 130, (number, size, size, 3), dtype=np.uint8)
    return Split(images, np.arange(number) % 2, [""] * number, [""] * number)


def build(name: str, size: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    return network.build(compose([f"model={name}"]).model, size)


@pytest.mark.parametrize(
    ("name", "size", "number"), [("rich", 32, 20), ("rich", 48, 20), ("rich", 530, 2), ("dct", 30, 20), ("dct", 530, 2)]
)
def test_of_counts_the_twin_says_what_the_network_says_of_pictures(
    name: str, size: int, number: int, tmp_path: Path
) -> None:
    model, split = build(name, size), pictures(number, size)
    twin, counts = counted.twin(model), counted.count(model, split, tmp_path).images
    standardised.hand_over(twin, model)
    said = scorer(model)(split.images)
    assert np.ptp(said) > 1e-5
    np.testing.assert_allclose(scorer(twin, dtype=counts.dtype)(counts), said, atol=1e-6)


@pytest.mark.parametrize(("size", "dtype"), [(32, np.uint8), (48, np.uint16), (530, np.uint32)])
def test_every_place_is_counted_once_in_each_channel(size: int, dtype: type, tmp_path: Path) -> None:
    model = build("rich", size)
    counts = counted.count(model, pictures(2, size), tmp_path).images
    rows, columns, channels = model.get_layer("evidence").output.shape[1:]
    assert counts.dtype == dtype
    assert (counts.sum(axis=1) == rows * columns * channels).all()


def test_a_mirror_image_on_the_same_grid_has_the_same_coefficients(tmp_path: Path) -> None:
    tile = np.random.default_rng(0).integers(90, 130, (32, 8, 3), dtype=np.uint8)
    image = np.tile(tile, (1, 4, 1))  # so that it does not matter that the last column of places is not looked at
    split = replace(pictures(3, 32), images=np.stack([image, image[:, ::-1], image.swapaxes(0, 1)]))
    one, mirrored, turned = counted.count(build("dct", 32), split, tmp_path).images
    np.testing.assert_array_equal(one, mirrored)
    assert (one != turned).any()
    assert 0 < one.max() <= 4 * 9  # places that are alike, blocks


@pytest.mark.parametrize(
    ("overrides", "pays"),
    [
        ([], True),
        (["+augmentation.flip=0.5"], False),
        (["augmentation=light"], False),
        (["trainer.limit_batches=2"], False),
        (["model=dct"], True),
        (["model=cnn"], False),
    ],
)
def test_it_pays_for_models_of_patterns_in_pictures_as_they_are(overrides: list[str], pays: bool) -> None:
    assert counted.pays(compose(["model=rich", "augmentation=none", *overrides])) == pays


def test_counts_leave_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there yet"
    counts = counted.count(build("rich", 32), pictures(2, 32), folder)
    assert isinstance(counts.images, np.memmap)
    assert not any(folder.iterdir())
