"""The data sets: what they give away, and their decoded images."""

import json
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from deepfake.config import SPLITS, Dataset, SyntheticDataset, compose, home
from deepfake.console import err, findings, number, out, table
from deepfake.errors import DeepfakeError

if TYPE_CHECKING:
    from deepfake.data.audit import Audit
    from deepfake.data.dataset import Data
    from deepfake.data.index import ImageFile

cache = typer.Typer(help="The decoded images of all data sets: list them, remove them.")

OVERRIDES_HELP = "As for run.py: dataset=folder dataset.root=DIR ..."
SHOWN = 8  # traits in the table


def audit(
    overrides: Annotated[list[str] | None, typer.Argument(help=OVERRIDES_HELP)] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Write a split file without copies and torn groups.")] = False,
    reencode: Annotated[bool, typer.Option("--reencode", help="And a copy, all resized and saved alike.")] = False,
    to: Annotated[Path | None, typer.Option("--out", help="Folder for what is written.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Say what gives the labels away, and whether a data set is fit to train on; if not, exit code 1."""
    from deepfake.data import audit as audits
    from deepfake.data.dataset import load_splits
    from deepfake.evaluation import report

    overrides = overrides or []
    settings = compose(overrides).dataset
    if (fix or reencode) and isinstance(settings, SyntheticDataset):
        raise DeepfakeError("--fix and --reencode are for a folder of images: dataset=folder dataset.root=DIR")
    data = load_splits(replace(settings, max_unreadable=1.0), SPLITS)
    found = audits.audit(data, settings)
    folder = to or home() / "data" / "audits" / f"{data.root.name}-{data.fingerprint[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    report.write_audit(folder, data, found, settings.class_names)
    if as_json:
        told = {"fit": found.fit, "findings": [asdict(finding) for finding in found.findings]}
        print(json.dumps(told | {"shortcuts": asdict(found.evidence.shortcuts), "folder": str(folder)}, indent=2))
    else:
        _show_audit(data, found, settings)
        out.print(f"Pairs, traits and sheets of pictures: {folder}", markup=False)
    if fix or reencode:
        kept = _mend(data, found, folder, overrides)
        if reencode:
            _reencode(data.root, kept, folder / "images", settings)
    if not found.fit:
        raise typer.Exit(1)


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


def _show_audit(data: "Data", found: "Audit", settings: Dataset) -> None:
    rows = [[name, *map(str, split.counts(settings.class_names).values())] for name, split in data.splits.items()]
    table(f"{data.name}, {len(data.decoded.files)} images", ["", *settings.class_names], rows)
    shortcuts = found.evidence.shortcuts
    traits = [[name, number(auc)] for name, auc in shortcuts.by_trait.items()]
    rows = [["all together", number(shortcuts.classifier_auc)], *traits[:SHOWN]]
    table("How well the label is told without looking at a face", ["trait", "AUC"], rows)
    findings(found.findings)
    out.print(f"[bold]{escape(data.name)} is {'' if found.fit else 'not '}fit to train on.[/bold]")


def _mend(data: "Data", found: "Audit", folder: Path, overrides: list[str]) -> list["ImageFile"]:
    """Write the split file, say how to use it, and return the files that it keeps."""
    from deepfake.data import clean

    kept = clean.clean(data.decoded, found.evidence.pairs)
    clean.write_splits(folder / "splits.csv", kept)
    before = {file.path: file.split for file in data.decoded.files}
    moved = sum(before[file.path] != file.split for file in kept)
    err.print(f"Mended: {len(before) - len(kept)} images left out, {moved} moved to another split. To use it:")
    err.print(f"  python run.py {' '.join(overrides)} dataset.split_file={folder / 'splits.csv'}", markup=False)
    return kept


def _reencode(root: Path, files: list["ImageFile"], folder: Path, settings: Dataset) -> None:
    from deepfake.data import clean
    from deepfake.data.cache import Geometry

    clean.reencode(root, files, Geometry(settings.image_size, settings.resize), folder, settings.class_names)
    err.print(f"Copied: {len(files)} images, all {settings.image_size} px JPEGs of one quality. To use them:")
    err.print(f"  python run.py dataset=folder dataset.root={folder}", markup=False)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f}"
