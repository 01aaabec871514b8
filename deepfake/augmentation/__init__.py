"""What is done to Train images: geometry, colour, and the wear of cameras, editors and social networks."""

from deepfake.augmentation.mixing import mix
from deepfake.augmentation.pipeline import augment, augment_pairs

__all__ = ["augment", "augment_pairs", "mix"]
