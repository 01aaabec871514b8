"""From a model to a page that everybody can open."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfake.cli.models import MODEL_HELP
from deepfake.console import out, table
from deepfake.errors import DeepfakeError

if TYPE_CHECKING:
    from deepfake.space.hub import Space


def deploy(
    space: Annotated[str, typer.Argument(metavar="USER/SPACE", help="The Space; it is made if it is not there.")],
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = "champion",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    to: Annotated[Path | None, typer.Option(help="Write it into this folder, and send nothing.")] = None,
    private: Annotated[bool, typer.Option("--private", help="A new Space is for its owner alone.")] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Bring back what was there before the last.")] = False,
) -> None:
    """Put a model with its page on a Hugging Face Space, in one commit; or take the last one back."""
    from deepfake.space import hub

    hub.check_name(space)
    if rollback:
        if dry_run or to or private:
            raise DeepfakeError("--rollback goes with no other option")
        _roll_back(hub.Space(space))
    elif dry_run or to:
        _only_build(model, space, to)
    else:
        _push(model, hub.Space(space), private)


def _roll_back(there: "Space") -> None:
    title = there.rollback()
    out.print(f"{there.url} is again what it was after: {title}", markup=False)


def _only_build(model: str, space: str, to: Path | None) -> None:
    if to:
        _build(model, space, to)
        out.print(f"Nothing was sent. It is in {to}, and runs there with: python app.py", markup=False)
        return
    with tempfile.TemporaryDirectory() as folder:
        _build(model, space, Path(folder))
    out.print("Nothing was sent.")


def _push(model: str, there: "Space", private: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        message = _build(model, there.name, Path(folder))
        pushed = there.push(Path(folder), message, private)
    for path in pushed.deleted:
        out.print(f"Deleted there: {path}", markup=False)
    done = f"Sent in one commit, {pushed.commit[:8]}" if pushed.changed else "Nothing has changed, so nothing was sent"
    out.print(f"{done}: {pushed.url}", markup=False)


def _build(model: str, space: str, folder: Path) -> str:
    """Build the bundle, print what is in it and return the message of its commit."""
    from deepfake import registry
    from deepfake.space import bundle

    card = bundle.build(folder, registry.fetch(model), title=space.partition("/")[2])
    sizes = bundle.files(folder)
    table("", ["file", "bytes"], [[path, f"{size:,}"] for path, size in sizes.items()])
    out.print(f"{len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB; run {card.run_id}.")
    return f"Deploy {card.model}, run {card.run_id}"
