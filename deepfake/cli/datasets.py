"""The data sets: the decoded images."""

from datetime import datetime
from typing import Annotated

import typer
from rich.markup import escape

from deepfake.console import out, table

cache = typer.Typer(help="The decoded images of all data sets: list them, remove them.")


@cache.callback(invoke_without_command=True)
def _show_by_default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        show()


@cache.command()
def show() -> None:
    """List the caches, the one used last first."""
    from deepfake.data.cache import default_folder, entries

    found = entries(default_folder())[::-1]
    if not found:
        out.print(f"No caches in {default_folder()}: the first run on a data set makes one.", markup=False)
        return
    rows = []
    for entry in found:
        what, used = ["unfinished or damaged", "", "", ""], ""
        if entry.root:
            what = [escape(entry.root), str(entry.images), str(entry.size), entry.resize]
            used = f"{datetime.fromtimestamp(entry.used):%Y-%m-%d %H:%M}"
        rows.append([entry.key[:8], *what, _megabytes(entry.taken), used])
    table("", ["key", "data set", "images", "px", "resize", "MB", "last used"], rows)
    total = _megabytes(sum(entry.taken for entry in found))
    out.print(f"{total} MB in {default_folder()}; `python -m deepfake cache clear` frees them.", markup=False)


@cache.command()
def clear(
    key: Annotated[str, typer.Argument(help="Only this one, by the beginning of its key.", show_default=False)] = "",
) -> None:
    """Remove the caches; the next run on a data set decodes it again."""
    from deepfake.data import cache as caches

    freed, kept = caches.clear(caches.default_folder(), key)
    for name in kept:
        out.print(f"{name[:8]} stays: a run is building it, or it may not be removed by you.")
    out.print(f"{_megabytes(freed)} MB freed.")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f}"
