"""What is done to Train images: geometry, colour, and the wear of cameras, editors and social networks."""

from deepfake.augmentation.pipeline import augment

__all__ = ["augment"]
