"""Hydra takes a sweeper only from the namespace `hydra_plugins`, so this class stands here."""

from deepfake.sweep import search


class Optuna(search.Search):
    """See `deepfake.sweep.search`."""
