"""An `mlruns/` that was moved or copied: MLflow's database holds absolute paths, which are set to where it lies now."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from deepfake import tracking
from deepfake.errors import TrackingError

# Of MLflow's tables, what holds the path of a file or a folder.
_PATHS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


@dataclass(frozen=True)
class Relocated:
    """What was done: the places from which, the place to which, and how many runs moved."""

    before: list[Path]
    now: Path
    runs: int


def relocate() -> Relocated:
    """Make this home's database name the files that lie beside it.

    Returns:
        What was changed: nothing, if all of it lies where the database says.

    Raises:
        TrackingError: If there is no database here, or it is damaged.
    """
    database = tracking.database()
    if not tracking.is_ours():
        raise TrackingError(f"only this project's own database is mended, not {tracking.uri()}")
    if not database.is_file():
        raise TrackingError(f"there is no {database}: put the mlruns/ that was moved there, or set DEEPFAKE_HOME")
    now = database.parent
    try:
        with tracking.lock(), closing(sqlite3.connect(database)) as connection, connection:
            before = [place.parent for place in tracking.elsewhere(_locations(connection))]
            changed = dict.fromkeys(_PATHS, 0)
            for place in before:
                for column in _PATHS:
                    changed[column] += _replace(connection, *column, str(place), str(now))
    except sqlite3.Error as error:
        raise TrackingError(f"{database} cannot be mended ({error})") from None
    return Relocated(before, now, changed["runs", "artifact_uri"])


def _locations(connection: sqlite3.Connection) -> list[str]:
    return [location for (location,) in connection.execute("SELECT artifact_location FROM experiments")]


def _replace(connection: sqlite3.Connection, table: str, column: str, before: str, now: str) -> int:
    """Replace the beginning of paths; only of whole names of folders."""
    inside = f"substr({column}, 1, length(:before) + 1) = :before || '/'"
    change = f"UPDATE {table} SET {column} = :now || substr({column}, length(:before) + 1) WHERE {inside}"
    return connection.execute(change, {"before": before, "now": now}).rowcount
