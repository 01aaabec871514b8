"""The bundle: what a Space needs to serve a detector, and nothing else.

That is `app.py`, the page and all modules that these two import anywhere, but for the registry, which a Space does not
have; and what those modules need to be imported (`closure`): what their functions import is optional, and left out.
"""

import ast
import json
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from deepfake import closure
from deepfake.config import PROJECT
from deepfake.detector import CARD_FILE, MODEL_FILE, Card, Detector
from deepfake.errors import DeepfakeError
from deepfake.model_card import model_card

APP = Path("app.py")
PAGE = Path("deepfake/page")
REGISTRY = "deepfake.registry"
SHORT_DESCRIPTION = "Does a picture of a face look real or fake?"  # the hub takes 60 characters
DATA = (".css", ".jpg", ".png")  # of the page's files, those that are no code
LARGE = (".h5", ".jpg", ".png")  # what Git LFS holds

_ABSOLUTE = r"(?<![\w./\\])(?:~\w*|\.\.?|[A-Za-z]:|\w+:/)?[\\/]"  # how a path begins that tells of a machine


def build(folder: Path, detector_folder: Path, title: str) -> Card:
    """Write the bundle of a detector, and load the detector from it.

    Args:
        folder: Where; it is made, or empty.
        detector_folder: A folder with a detector's two files, or the path of its `.h5`.
        title: What to call the Space.

    Returns:
        The detector's card as it is published: where it names a path, only the last part of it is left.

    Raises:
        DeepfakeError: If the folder is not empty.
        ModelError: If the detector's files are missing, damaged or not to be trusted.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DeepfakeError(f"{folder} is there and not an empty folder: name a new one")
    card = _published(Detector.load(detector_folder).card)
    for path in sources():
        _copy(PROJECT / path, folder / path)
    beside = detector_folder if detector_folder.is_dir() else detector_folder.parent
    _copy(beside / MODEL_FILE, folder / MODEL_FILE)
    (folder / CARD_FILE).write_bytes(TypeAdapter(Card).dump_json(card, indent=2))
    _write(folder / "README.md", _readme(card, title))
    _write(folder / "requirements.txt", "".join(f"{line}\n" for line in requirements()))
    attributes = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE)
    _write(folder / ".gitattributes", attributes)
    Detector.load(folder)
    return card


def files(folder: Path) -> dict[str, int]:
    """Return the files of a bundle, sorted, by their paths in it, and their sizes in bytes."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in found}


def sources() -> list[Path]:
    """Return the files of this project that belong to every bundle, sorted, relative to the project."""
    page = [path.relative_to(PROJECT) for path in (PROJECT / PAGE).rglob("*") if path.is_file()]
    whole = [APP, *(path for path in page if path.suffix == ".py")]
    named = {name for path in whole for name in _imports(path) if f"{name}.".startswith("deepfake.")}
    needed = closure.files(*(name for name in named if not f"{name}.".startswith(f"{REGISTRY}.")))
    return sorted({*whole, *needed, *(path for path in page if path.suffix in DATA)})


def requirements() -> list[str]:
    """Return the packages that a bundle imports, each pinned to what is installed here, like `numpy==2.4.6`."""
    modules = {name.partition(".")[0] for path in sources() if path.suffix == ".py" for name in _imports(path)}
    providers = packages_distributions()
    foreign = modules - sys.stdlib_module_names - {"deepfake"}
    # where OpenCV is installed in more than one way, the one that needs no screen
    chosen = {min(providers[module], key=lambda name: "headless" not in name) for module in foreign}
    return sorted((f"{name}=={version(name)}" for name in chosen), key=str.lower)


def _imports(path: Path) -> Iterator[str]:
    """Yield what a file imports anywhere, but for types."""
    waiting: list[ast.AST] = [ast.parse((PROJECT / path).read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        yield from closure.names(node)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _readme(card: Card, title: str) -> str:
    from huggingface_hub import ModelCard, SpaceCardData

    told = ModelCard(model_card(card, title))
    front = SpaceCardData(
        title=title,
        emoji="🔎",
        colorFrom="indigo",
        colorTo="gray",
        sdk="gradio",
        sdk_version=version("gradio"),
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}",
        app_file=APP.name,
        license=told.data.get("license"),
        tags=told.data.get("tags"),
        short_description=SHORT_DESCRIPTION,
    )
    return f"---\n{front.to_yaml()}\n---\n{told.text}"


def _published(card: Card) -> Card:
    adapter = TypeAdapter(Card)
    return adapter.validate_python(_without_places(json.loads(adapter.dump_json(card))))


def _without_places(tree: Any) -> Any:
    """Leave of every path in the texts of a tree its last part: where things lie is nobody else's business."""
    if isinstance(tree, dict):
        return {key: _without_places(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_without_places(value) for value in tree]
    if not isinstance(tree, str):
        return tree
    if re.match(_ABSOLUTE, tree):  # all of it is a path, blanks in it included
        return _last(tree)
    return re.sub(_ABSOLUTE + r"\S+", lambda found: _last(found.group()), tree)


def _last(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
