"""Data flows one way: a room of the package imports those before it. See `docs/architecture.md`."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import deepfake

PACKAGE = Path(deepfake.__file__).parent
ROOMS = [
    *("errors", "threads", "quiet", "config", "closure", "console"),
    *("data", "augmentation", "models", "training", "evaluation", "detector", "model_card", "timeline"),
    *(
        "orphans",
        "outbox",
        "tracking",
        "relocation",
        "leaderboard",
        "registry",
        "members",
        "serving",
        "export",
        "experiment",
        "sweep",
    ),
    *("page", "space", "cli", "__main__"),
]
AGAINST_THE_FLOW = {("detector", "registry")}  # `Detector.load` of a URI, and only then


def imports(path: Path) -> Iterator[str]:
    """Name all that a module imports, in functions as well, but for what only a type checker reads."""
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.If(test=ast.Name("TYPE_CHECKING")):
                waiting.extend(node.orelse)
            case ast.Import():
                yield from (name.name for name in node.names)
            case ast.ImportFrom():
                yield from (f"{node.module}.{name.name}" for name in node.names)
            case _:
                waiting.extend(ast.iter_child_nodes(node))


@cache
def modules() -> dict[str, set[str]]:
    """List the modules of the package, without its own `__init__`, and what each imports."""
    named = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    del named["deepfake.__init__"]
    return {name.removesuffix(".__init__"): set(imports(path)) for name, path in named.items()}


def neighbours() -> set[tuple[str, str]]:
    """Pairs of rooms, of which the first imports the second."""
    pairs = [(name, other) for name, found in modules().items() for other in found if other.startswith("deepfake.")]
    rooms = {(importer.split(".")[1], imported.split(".")[1]) for importer, imported in pairs}
    return {(importer, imported) for importer, imported in rooms if importer != imported}


def test_every_room_knows_those_before_it() -> None:
    assert {name.split(".")[1] for name in modules()} == set(ROOMS)
    backwards = {pair for pair in neighbours() if ROOMS.index(pair[0]) < ROOMS.index(pair[1])}
    assert backwards == AGAINST_THE_FLOW


def test_only_experiment_knows_how_to_train_and_only_a_command_knows_experiment() -> None:
    assert {importer for importer, imported in neighbours() if imported == "training"} == {"experiment"}
    assert {importer for importer, imported in neighbours() if imported == "experiment"} == {"cli"}


def test_only_config_knows_omegaconf() -> None:
    knowing = {name for name, found in modules().items() if any(one.startswith("omegaconf") for one in found)}
    assert knowing == {"deepfake.config"}
