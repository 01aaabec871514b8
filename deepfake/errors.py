"""Errors a person can cause. Their text is one line: what was wrong, where, and what to do."""


class DeepfakeError(Exception):
    """Base of every error whose message is written for the person at the keyboard."""


class ConfigError(DeepfakeError):
    """A configuration key, group or value that cannot be used."""


class DataError(DeepfakeError):
    """A data set that is missing, incomplete or unreadable."""


class ImageError(DeepfakeError):
    """Bytes that are not a usable still image or video. The message never holds a path."""


class ModelError(DeepfakeError):
    """A model file that is missing, damaged or not to be trusted."""


class TrackingError(DeepfakeError):
    """A run, a version or a tracking store that is not there or not as expected."""


class StoreLostError(TrackingError):
    """A tracking store that does not answer."""


class JobError(DeepfakeError):
    """A job of a sweep failed; the sweep itself names it."""
