"""Which files of this package a part of it needs, to give that part away without the rest."""

import ast
from collections.abc import Iterator
from pathlib import Path

from deepfake.config import PROJECT


def files(*modules: str) -> list[Path]:
    """Find the files that modules of this package need as soon as they are imported.

    Args:
        modules: Names, like `deepfake.detector`.

    Returns:
        Their files, those of the modules of this package that they import, and so on, with the packages around them;
        sorted, relative to the project. What a function imports, and what is imported for type checkers, is left out.
    """
    found: set[Path] = set()
    waiting = list(modules)
    while waiting:
        for path in _files_of(waiting.pop()):
            if path not in found:
                found.add(path)
                waiting += _imports(path)
    return sorted(found)


def names(node: ast.AST) -> Iterator[str]:
    """Yield what a statement imports, like `deepfake.detector.Card`; nothing if it is no import."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files_of(name: str) -> Iterator[Path]:
    """Yield the file of a module and those of the packages around it; the last part of a name may be no module."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        place = Path(*parts[:end])
        yield from (path for path in (place.with_suffix(".py"), place / "__init__.py") if (PROJECT / path).is_file())


def _imports(path: Path) -> Iterator[str]:
    for node in ast.parse((PROJECT / path).read_text(encoding="utf-8")).body:
        yield from names(node)
