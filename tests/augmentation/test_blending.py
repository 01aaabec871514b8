"""Self-blended fakes: a face that does not quite fit into its own picture."""

import cv2
import numpy as np

from deepfake.augmentation import blending
from deepfake.data.images import read
from deepfake.data.synthetic import draw_pair


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def face() -> np.ndarray:
    return cv2.resize(read(draw_pair(0, 0)[0]), (128, 128), interpolation=cv2.INTER_AREA)


def test_a_mask_lies_in_the_middle_and_has_a_soft_edge() -> None:
    masks = np.stack([blending.mask(128, rng(seed)) for seed in range(40)])
    assert masks.dtype == np.float32 and masks.min() >= 0
    assert np.allclose(masks.max(axis=(1, 2)), 1, atol=0.05)
    covered = masks.mean(axis=(1, 2))
    assert covered.min() > 0.02 and covered.max() < 0.65
    assert masks[:, [0, -1]].max() < 0.3 and masks[:, :, [0, -1]].max() < 0.3
    assert all(((mask > 0.1) & (mask < 0.9)).sum() > 50 for mask in masks)


def test_masks_are_drawn_at_the_scale_of_the_picture() -> None:
    large, small = blending.mask(256, rng(3)), blending.mask(64, rng(3))
    assert np.abs(cv2.resize(large, (64, 64), interpolation=cv2.INTER_AREA) - small).max() < 0.02


def test_a_blend_differs_from_its_real_image_inside_the_mask_only() -> None:
    image = face()
    for seed in range(20):
        real, fake = blending.self_blend(image, rng(seed))
        assert real.shape == fake.shape == image.shape and fake.dtype == np.uint8
        difference = np.abs(real.astype(int) - fake).max(axis=2)
        assert difference.max() > 3, seed
        assert difference[:2].max() <= 1 and difference[:, :2].max() <= 1


def test_half_of_the_time_it_is_the_real_image_that_is_changed() -> None:
    image = face()
    changed = [not np.array_equal(blending.self_blend(image, rng(seed))[0], image) for seed in range(200)]
    assert 70 < sum(changed) < 130


def test_the_same_seed_gives_the_same_blend() -> None:
    first, again = blending.self_blend(face(), rng(5)), blending.self_blend(face(), rng(5))
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
