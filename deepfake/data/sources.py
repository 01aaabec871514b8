"""Where each data set's files come from: drawn here, a folder, or a download."""

import json
import os
from contextlib import suppress
from pathlib import Path

from deepfake.config import Dataset, FolderDataset, SyntheticDataset, home
from deepfake.data import synthetic
from deepfake.errors import DataError


def locate(settings: Dataset) -> Path:
    """Return the folder of a data set, making or downloading it on first use.

    Args:
        settings: The data set.

    Returns:
        Its root folder.

    Raises:
        DataError: If a download needs a package or a network that is not there.
    """
    if isinstance(settings, FolderDataset):
        return Path(settings.root).expanduser().resolve()
    if isinstance(settings, SyntheticDataset):
        folder = home() / "data" / f"synthetic-{settings.images}-{settings.seed}"
        return synthetic.make(folder, settings.images, settings.seed)
    return download(settings.handle, home() / "data" / "kaggle")


def download(handle: str, folder: Path) -> Path:
    """Fetch a Kaggle data set once.

    Args:
        handle: Its `owner/name` on Kaggle.
        folder: Where downloads are kept.

    Returns:
        The folder it was unpacked to.

    Raises:
        DataError: If `kagglehub` is not installed, or the download failed.
    """
    note = folder / (handle.replace("/", "--") + ".json")
    with suppress(OSError, ValueError, KeyError):  # there is none, or it was not written to its end
        root = Path(json.loads(note.read_text())["root"])
        if root.is_dir():
            return root
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["KAGGLEHUB_CACHE"] = str(folder)
    try:
        import kagglehub
    except ImportError:
        raise DataError("dataset=kaggle needs one more package: pip install kagglehub") from None
    try:
        root = kagglehub.dataset_download(handle)
    except Exception as error:  # network, log-in, licence or name: whatever the client raises, the cure is the same
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"dataset.handle={handle}: the download failed ({reason}); check the network and the name, or download "
            "it by hand and use dataset=folder dataset.root=DIR"
        ) from error
    note.write_text(json.dumps({"handle": handle, "root": str(root)}))
    return Path(root)
