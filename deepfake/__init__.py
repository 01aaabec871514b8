"""Train, compare and ship detectors of manipulated face images."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepfake.detector import Detector

__all__ = ["Detector"]


def __getattr__(name: str) -> Any:
    """Import `Detector` when it is asked for, so that `import deepfake` costs nothing."""
    if name == "Detector":
        from deepfake.detector import Detector

        return Detector
    raise AttributeError(f"module 'deepfake' has no attribute {name!r}")
