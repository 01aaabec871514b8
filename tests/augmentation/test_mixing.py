"""Images and labels mixed with others of their batch."""

import numpy as np

from deepfake.augmentation import mix
from deepfake.config import Augmentation, Op

LABELS = (np.arange(40) % 2).astype(np.float32)[:, None]
IMAGES = np.full((40, 20, 30, 3), 100, np.uint8) + np.uint8(100) * LABELS.astype(np.uint8)[:, :, None, None]


def mixed(**operations: Op) -> tuple[np.ndarray, np.ndarray]:
    return mix(IMAGES, LABELS, Augmentation(name="test", **operations), np.random.default_rng(0))


def test_without_mixing_nothing_is_copied() -> None:
    images, labels = mixed()
    assert images is IMAGES and labels is LABELS


def test_cutmix_pastes_a_rectangle_and_weighs_the_label_by_its_area() -> None:
    images, labels = mixed(cutmix=Op(prob=1.0, range=[0.1, 0.5]))
    shares_of_fake = (images == 200).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(labels[:, 0], shares_of_fake, atol=1e-6)
    assert set(np.unique(images)) == {100, 200}
    assert 5 < ((shares_of_fake > 0) & (shares_of_fake < 1)).sum() < 40  # the others met their own class


def test_mixup_lays_one_image_over_another_and_weighs_the_label_alike() -> None:
    images, labels = mixed(mixup=Op(prob=0.5, range=[0.1, 0.5]))
    assert (images.std(axis=(1, 2, 3)) == 0).all()
    np.testing.assert_allclose(images[:, 0, 0, 0], 100 + 100 * labels[:, 0], atol=0.51)
    assert 0 < ((labels > 0) & (labels < 1)).sum() < 20


def test_the_batch_itself_is_left_as_it_is() -> None:
    before = IMAGES.copy()
    mixed(cutmix=Op(prob=1.0, range=[0.1, 0.5]), mixup=Op(prob=1.0, range=[0.1, 0.5]))
    assert np.array_equal(IMAGES, before)
