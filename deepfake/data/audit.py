"""What is wrong with a data set, or gives its labels away, before anything is trained on it.

What takes long, the search for copies and for shortcuts, is done once for a data set and kept in its cache.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from deepfake.config import SPLITS, Dataset
from deepfake.data import duplicates, shortcuts
from deepfake.data.cache import Decoded
from deepfake.data.dataset import Data
from deepfake.data.duplicates import Kind, Pair
from deepfake.data.index import ImageFile
from deepfake.data.tables import printable

FORMAT = 1  # raise it when the same images would give other evidence
Severity = Literal["error", "warning", "note"]
UNBALANCED = 10  # images of one class for one of the other, from which it is said
LEAKED = 0.005  # share of Validation and Test whose altered copies stand in another split, from which it is an error
REPEATED = 0.01  # share of files that are there twice in their split, from which it is more than a note
KINDS = {
    "exact": "the same file",
    "near": "re-saved or altered a little",
    "mirrored": "mirrored",
    "crop": "cropped",
}

# Where two copies stand, and what that means.
CASES = {
    "splits": "in two splits: Validation and Test then count what was learnt by heart",
    "labels": "as Real and as Fake: one of the labels is wrong",
    "alike": "as Real and as Fake: a face swap and its source, or a wrong label",
    "swaps": "as Real and as Fake in one group, like a face swap and its source",
    "repeated": "in one class of one split",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: `error` where what is learnt from the data, or measured on them, means nothing; `warning` where it may
            mean less than it seems; `note` for what is good to know.
        text: What, in one line.
    """

    severity: Severity
    text: str


@dataclass(frozen=True)
class Evidence:
    """What takes long to find: pairs of copies, by the images' places among the decoded ones, and shortcuts."""

    pairs: list[Pair]
    shortcuts: shortcuts.Report


@dataclass(frozen=True)
class Audit:
    """What is known of a data set.

    Attributes:
        findings: Errors first, then warnings, then notes.
        evidence: Of which images they speak.
    """

    findings: list[Finding]
    evidence: Evidence

    @property
    def fit(self) -> bool:
        """Whether the data set is fit to train on."""
        return not any(finding.severity == "error" for finding in self.findings)


def audit(data: Data, settings: Dataset) -> Audit:
    """Look for what makes a data set's numbers untrue.

    Args:
        data: The decoded data set.
        settings: Its class names and the share of unreadable files that is allowed.

    Returns:
        What was found.
    """
    evidence = _evidence(data.decoded, settings.class_names)
    found = [
        *_unreadable(data.decoded, settings.max_unreadable),
        *_balance(data, settings.class_names),
        *_groups(data.decoded.files),
        *_copies(data.decoded.files, evidence.pairs),
        *(Finding("error", shortcut.text) for shortcut in evidence.shortcuts.shortcuts),
    ]
    order = ("error", "warning", "note")
    found = [replace(finding, text=printable(finding.text)) for finding in found]
    return Audit(sorted(found, key=lambda finding: order.index(finding.severity)), evidence)


def _evidence(decoded: Decoded, class_names: Sequence[str]) -> Evidence:
    path = decoded.place / "audit.json"
    with suppress(OSError, ValueError, KeyError, ValidationError):
        kept = json.loads(path.read_text())
        if kept["format"] == FORMAT:
            return TypeAdapter(Evidence).validate_python(kept["evidence"])
    labels = np.array([file.label for file in decoded.files])
    groups = [file.group for file in decoded.files]
    evidence = Evidence(
        duplicates.find(decoded.thumbnails, decoded.hashes),
        shortcuts.find(decoded.traits, decoded.thumbnails, labels, groups, class_names),
    )
    with suppress(OSError):  # the cache's folder may be read only
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps({"format": FORMAT, "evidence": asdict(evidence)}))
        partial.replace(path)
    return evidence


def _unreadable(decoded: Decoded, allowed: float) -> Iterator[Finding]:
    if decoded.unreadable:
        path, reason = decoded.unreadable[0]
        total = len(decoded.files) + len(decoded.unreadable)
        severity: Severity = "error" if len(decoded.unreadable) / total > allowed else "note"
        count = _count(len(decoded.unreadable), "file")
        yield Finding(severity, f"{count} of {total} cannot be read, like {path}: {reason}")


def _balance(data: Data, class_names: Sequence[str]) -> Iterator[Finding]:
    for name, split in data.splits.items():
        counts = split.counts(class_names)
        (fewer, few), (more, many) = sorted(counts.items(), key=lambda item: item[1])
        if few == 0:
            yield Finding("error", f"{name} has no images of class {fewer}")
        elif many > UNBALANCED * few:
            yield Finding("warning", f"{name} has {many} images of {more} and only {few} of {fewer}")


def _groups(files: Sequence[ImageFile]) -> Iterator[Finding]:
    places = defaultdict(set)
    for file in files:
        places[file.group].add(file.split)
    torn = sorted(group for group, splits in places.items() if len(splits) > 1)
    if torn:
        where = " and ".join(name for name in SPLITS if name in places[torn[0]])
        yield Finding(
            "error",
            f"{_count(len(torn), 'group')} (source videos or identities) of {len(places)} in more than one split, like "
            f"{torn[0]} in {where}: a model that knows them from Train is not tested on anything new",
        )


def _copies(files: Sequence[ImageFile], pairs: Sequence[Pair]) -> Iterator[Finding]:
    cases = defaultdict(list)
    for pair in pairs:
        cases[_case(files[pair.a], files[pair.b], pair)].append(pair)
    for case, found in cases.items():
        kinds = Counter(pair.kind for pair in found)
        how = ", ".join(f"{count} {KINDS[kind]}" for kind, count in kinds.items())
        example = f"like {files[found[0].a].path} and {files[found[0].b].path}"
        text = f"{_count(len(found), 'pair')} of copies ({how}), {example}, {CASES[case]}"
        yield Finding(_severity(case, kinds, files), text)


def _severity(case: str, kinds: Counter[Kind], files: Sequence[ImageFile]) -> Severity:
    held_out = sum(file.split != "Train" for file in files)
    match case:
        case "splits":  # a few pictures that only look like copies move no number
            return "error" if kinds["exact"] or kinds.total() >= LEAKED * held_out else "warning"
        case "labels":
            return "error"
        case "alike":
            return "warning"
        case "repeated" if kinds["exact"] > REPEATED * len(files):
            return "warning"
    return "note"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _case(a: ImageFile, b: ImageFile, pair: Pair) -> str:
    """Say where two copies stand."""
    if a.split != b.split:
        return "splits"
    if a.label == b.label:
        return "repeated"
    if pair.kind == "exact":
        return "labels"
    return "swaps" if a.group == b.group else "alike"
