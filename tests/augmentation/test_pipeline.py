"""Augmenting a batch, as training does."""

import numpy as np
import pytest

from deepfake.augmentation import augment, augment_pairs
from deepfake.augmentation.degradation import jpeg
from deepfake.config import CONF, Augmentation, Op, SelfBlended, compose

CHOICES = sorted(path.stem for path in (CONF / "augmentation").glob("*.yaml"))


def chosen(name: str) -> Augmentation:
    return compose([f"augmentation={name}"]).augmentation


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def batch() -> np.ndarray:
    images = rng(1).integers(0, 256, (8, 32, 48, 3), np.uint8)
    images.setflags(write=False)
    return images


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_gives_a_batch_of_the_same_shape(batch, name):
    augmented = augment(batch, chosen(name), rng())
    assert augmented.shape == batch.shape and augmented.dtype == np.uint8
    assert np.array_equal(augmented, batch) == (name == "none")


def test_none_hands_back_the_very_images(batch):
    assert augment(batch, chosen("none"), rng()) is batch


def test_the_same_seed_gives_the_same_images_and_another_seed_others(batch):
    heavy = chosen("heavy")
    once = augment(batch, heavy, rng(3))
    assert np.array_equal(once, augment(batch, heavy, rng(3)))
    assert not np.array_equal(once, augment(batch, heavy, rng(4)))


def test_each_image_is_changed_in_its_own_way():
    same = np.repeat(rng(1).integers(0, 256, (1, 32, 32, 3), np.uint8), 6, axis=0)
    assert len({image.tobytes() for image in augment(same, chosen("standard"), rng())}) == 6


def test_with_probability_zero_nothing_happens(batch):
    never = Op(prob=0.0, range=[0.5, 0.9])
    operations = dict.fromkeys(("shift", "zoom", "brightness", "downscale", "erasing"), never)
    assert np.array_equal(augment(batch, Augmentation(name="test", **operations), rng()), batch)


def test_only_the_images_that_are_drawn_are_changed():
    images = rng(1).integers(0, 256, (200, 16, 16, 3), np.uint8)
    sometimes = Augmentation(name="test", jpeg=Op(prob=0.3, range=[50, 50]))
    augmented = augment(images, sometimes, rng())
    touched = (augmented != images).any(axis=(1, 2, 3))
    assert touched.mean() == pytest.approx(0.3, abs=0.1)
    assert all(np.array_equal(augmented[i], jpeg(images[i], 50)) for i in np.flatnonzero(touched))


def test_jpeg_comes_after_the_warp_and_the_colours(batch):
    settings = {"rotation": Op(prob=1.0, range=[10, 10]), "brightness": Op(prob=1.0, range=[0.1, 0.1])}
    compressed = augment(batch, Augmentation(name="test", **settings, jpeg=Op(prob=1.0, range=[40, 40])), rng())
    uncompressed = augment(batch, Augmentation(name="test", **settings), rng())
    assert np.array_equal(compressed, [jpeg(image, 40) for image in uncompressed])


def test_a_batch_that_is_not_contiguous_is_augmented_all_the_same(batch):
    mirrored = batch[:, :, ::-1]
    expected = augment(mirrored.copy(), chosen("heavy"), rng())
    assert np.array_equal(augment(mirrored, chosen("heavy"), rng()), expected)


def test_both_of_a_pair_get_the_same_draw(batch):
    twice = np.concatenate([batch, batch])
    settings = compose(["augmentation=heavy", "augmentation.noise=null", "augmentation.erasing=null"]).augmentation
    real, fake = np.split(augment_pairs(twice, settings, rng()), 2)
    assert np.array_equal(real, fake)
    assert not np.array_equal(real, batch)


def test_a_crop_is_a_part_of_the_picture_the_same_for_both_of_a_pair(batch):
    real, fake = np.split(augment_pairs(np.concatenate([batch, batch]), Augmentation(name="test", crop=20), rng()), 2)
    assert real.shape == (8, 20, 20, 3) and np.array_equal(real, fake)
    places = {
        (top, left)
        for part, whole in zip(real, batch, strict=True)
        for top in range(13)
        for left in range(29)
        if np.array_equal(part, whole[top : top + 20, left : left + 20])
    }
    assert len(places) > 4


@pytest.mark.parametrize(("prob", "only_real", "least", "most"), [(0.5, False, 30, 70), (0.0, True, 100, 100)])
def test_self_blends_take_the_place_of_fakes(prob, only_real, least, most):
    images = np.zeros((200, 32, 32, 3), np.uint8)
    images[:100] = rng(1).integers(0, 256, (100, 32, 32, 3))  # real; the fakes are black
    settings = Augmentation(name="test", self_blended=SelfBlended(prob=prob, only_real=only_real))
    augmented = augment_pairs(images, settings, rng())
    replaced = augmented[100:].any(axis=(1, 2, 3))
    assert least <= replaced.sum() <= most
    assert np.array_equal(augmented[:100][~replaced], images[:100][~replaced])


def test_a_mere_shift_is_by_whole_pixels(batch):
    shifted = augment(batch, Augmentation(name="test", shift=Op(prob=1.0, range=[-0.2, 0.2])), rng())
    for image, original in zip(shifted, batch, strict=True):
        assert {tuple(pixel) for pixel in image.reshape(-1, 3)} <= {tuple(pixel) for pixel in original.reshape(-1, 3)}
