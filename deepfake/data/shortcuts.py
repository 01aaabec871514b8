"""Can the label be told without looking at the face? Then a detector learns that, and not what a fake looks like.

Each trait of `traits`, and each corner and edge of the picture, is asked how well it alone tells Real from Fake, by the
area under its ROC curve (AUC): 0.5 is chance, 1 is always. What has to be fitted for that is cross-validated, with no
group on both sides.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from deepfake.data.traits import CONTAINER, NAMES, describe

LIMIT = 3000  # images of each class that are looked at: an AUC of 0.55 is then 6.7 standard errors from chance
MINIMUM = 15  # images of each class without which chance could tell them apart as well
FOLDS = 5
CHANCE = 4.5  # standard errors: chance takes none of some 50 numbers so far from 0.5 in 99 of 100 data sets
REACH, REACH_GROUPS = 0.10, 1000  # with fewer groups of a class, its rarest hundredth is not known well enough
CORNER, EDGE = 12, 4  # pixels of a thumbnail of 64

COLOURS = ("red", "green", "blue", "saturation")
JPEG_ONLY = (
    "JPEG quality",
    "chroma subsampling",
    "progressive",
)  # compared among JPEGs: that others lack them is known
PLACES = {
    "top left corner": np.s_[:, :CORNER, :CORNER],
    "top right corner": np.s_[:, :CORNER, -CORNER:],
    "bottom left corner": np.s_[:, -CORNER:, :CORNER],
    "bottom right corner": np.s_[:, -CORNER:, -CORNER:],
    "top edge": np.s_[:, :EDGE],
    "bottom edge": np.s_[:, -EDGE:],
    "left edge": np.s_[:, :, :EDGE],
    "right edge": np.s_[:, :, -EDGE:],
}


@dataclass(frozen=True)
class Shortcut:
    """One thing that tells the label without a look at the face.

    Attributes:
        name: The trait or the place.
        auc: How well it alone tells Real from Fake, 0.5 to 1, whichever way round.
        text: What was found: one sentence with numbers.
    """

    name: str
    auc: float
    text: str


@dataclass(frozen=True)
class Report:
    """What tells the label without a look at the face. All AUCs are 0.5 (chance) to 1, whichever way round.

    Attributes:
        images: How many images were looked at, of both classes together.
        classifier_auc: Cross-validated AUC of a classifier that sees all traits, no picture; nan where none was made.
        by_trait: AUC of each trait alone, the most telling first.
        by_place: AUC of what is alike in a class at each corner and edge of the picture, the most telling first.
        within_groups: AUC of levels where Real and Fake of one group are compared; empty without such groups.
        shortcuts: What is alarming, the most telling first; empty where the data are fit.
        note: Why nothing could be said; empty where something could.
    """

    images: int
    classifier_auc: float
    by_trait: dict[str, float]
    by_place: dict[str, float]
    within_groups: dict[str, float]
    shortcuts: list[Shortcut]
    note: str


@dataclass(frozen=True)
class Family:
    """Traits that one cause changes together: the most telling makes a shortcut, and names the others.

    Attributes:
        names: Traits, or places.
        alarm: The AUC from which on they are alarming.
        reach: The share of a class, lying beyond 99 % of the other, from which on they are alarming too.
    """

    names: tuple[str, ...]
    alarm: float
    reach: float = 1.1


# How a file was saved has nothing to do with a face: what is clearly no chance is alarming. An AUC of 0.55 is one image
# in ten of a class that was saved otherwise.
FILE = (
    Family(("file format",), 0.55),
    Family(("width", "height", "aspect ratio"), 0.55),
    Family(JPEG_ONLY, 0.55),
    Family(("metadata",), 0.55),
    Family(("colour mode",), 0.55),
)
# A manipulation changes the picture, and that is what a detector is meant to find. On face swaps of DFDC and on FFHQ
# against StyleGAN, saved alike, no level came above 0.63 (generated faces have less pure white; 0.71 where the faces
# were blurred), no border or place above 0.60 (the mirrored edges of FFHQ), the block grid to 0.56, sharpness and noise
# to 0.62; no more than 3 % of a class lay beyond 99 % of the other. Three grey levels more in all fakes made 0.83 and
# 0.95 of the share of black, and, after another JPEG, 15 % beyond; a faint mark in a corner 0.73 to 0.99; a black frame
# 1.00; pictures of which one class had been JPEG before 1.00. Faces that are blurred, and nothing else, took sharpness
# to 0.88, so that it is a shortcut only where hardly more is needed.
PICTURE = (
    Family((*COLOURS, "darkest level", "lightest level", "share of black", "share of white"), 0.75, REACH),
    Family(("border level", "border spread", "flattest side", *PLACES), 0.70, REACH),
)
TRACES = (  # of how a file was saved, so that they are no news where that tells the label
    Family(("block grid",), 0.75),
    Family(("contrast", "sharpness", "noise"), 0.95),
    Family(("bytes", "bytes per pixel"), 0.95),
)
# Of two frames of a video in DFDC, the face swap's is darker by half a grey level, 0.69 of the colours; faces that are
# tinted by five levels make 0.94 of saturation. The darkest fifth of the picture, mostly hair and background, stays at
# 0.60, at 0.70 with twice that tint, and three levels more everywhere take it to 0.87.
WITHIN_GROUPS = (Family(("darkest fifth",), 0.75), Family(COLOURS, 0.95))
TOGETHER = 0.98  # 0.67 and 0.69 on those data, 0.96 where the faces were blurred


@dataclass(frozen=True)
class Seen:
    """Who the images are.

    Attributes:
        labels: (N,) integers, 0 or 1.
        groups: (N,) integers.
        folds: (N,) integers, alike within a group.
        class_names: What to call the labels.
    """

    labels: np.ndarray
    groups: np.ndarray
    folds: np.ndarray
    class_names: Sequence[str]

    def only(self, keep: np.ndarray) -> "Seen":
        """Return those of a mask of shape (N,)."""
        return Seen(self.labels[keep], self.groups[keep], self.folds[keep], self.class_names)

    def group_counts(self) -> list[int]:
        """Return how many groups each class has."""
        return [len(np.unique(self.groups[self.labels == label])) for label in (0, 1)]


@dataclass(frozen=True)
class Finding:
    """What one trait or place tells.

    Attributes:
        auc: 0.5 to 1.
        chance: What chance alone may make of it.
        reach: The largest share of a class that lies beyond 99 % of the other.
        text: The sentence for an alarming AUC.
        reach_text: The sentence for an alarming reach.
    """

    auc: float = 0.5
    chance: float = 1.0
    reach: float = 0.0
    text: str = ""
    reach_text: str = ""


def find(
    traits: np.ndarray, thumbnails: np.ndarray, labels: np.ndarray, groups: Sequence[str], class_names: Sequence[str]
) -> Report:
    """Look for what tells Real from Fake without a look at the face.

    Args:
        traits: (N, len(traits.NAMES)) float32, rows of `traits.measure`.
        thumbnails: (N, 64, 64) uint8, the whole pictures in grey, shrunk by averaging areas.
        labels: (N,) integers, 0 for Real and 1 for Fake.
        groups: N names of the source video or identity; the image's own path where that is not known.
        class_names: What to call Real and Fake.

    Returns:
        What was found; the same for the same data.
    """
    counts = [int(np.sum(labels == label)) for label in (0, 1)]
    if min(counts) < MINIMUM:
        images = " and ".join(f"{count} of {name}" for count, name in zip(counts, class_names, strict=True))
        note = f"{images}: at least {MINIMUM} images of each are needed to say what tells them apart"
        return Report(0, np.nan, {}, {}, {}, [], note)
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    rows = _sample(labels, codes)
    seen = Seen(labels[rows], codes[rows], _folds(labels[rows], codes[rows]), class_names)
    table, thumbnails = traits[rows], thumbnails[rows]
    pictures = _without_light(thumbnails)
    findings = {name: _trait(name, table, seen) for name in NAMES}
    findings |= {name: _place(name, pictures[place], seen) for name, place in PLACES.items()}
    levels = {name: table[:, NAMES.index(name)] for name in COLOURS}
    levels["darkest fifth"] = np.percentile(thumbnails[:, EDGE:-EDGE, EDGE:-EDGE], 20, axis=(1, 2))
    within = _within_groups(levels, seen)
    together = _cross_validated(_boosted, table, seen)
    return Report(
        images=len(rows),
        classifier_auc=together,
        by_trait=_ranked({name: findings[name].auc for name in NAMES}),
        by_place=_ranked({name: findings[name].auc for name in PLACES}),
        within_groups=_ranked({name: finding.auc for name, finding in within.items()}),
        shortcuts=_shortcuts(findings, within, together, seen),
        note="",
    )


# --------------------------------------------------------------------------------------------------- one trait or place


def _trait(name: str, table: np.ndarray, seen: Seen) -> Finding:
    keep = table[:, NAMES.index("JPEG quality")] >= 0 if name in JPEG_ONLY else np.ones(len(table), bool)
    values, seen = table[keep, NAMES.index(name)], seen.only(keep)
    if np.bincount(seen.labels, minlength=2).min() < MINIMUM or values.min() == values.max():
        return Finding()
    # The rank finds what is higher in one class, the tree what is 250 or 262 in one class and 256 in the other.
    auc = max(_either_way(seen.labels, values), _cross_validated(_tree, values[:, None], seen))
    reach, label, side = _reach(values, seen)
    here, there = seen.class_names[label], seen.class_names[1 - label]
    return Finding(
        auc=auc,
        chance=_chance(*seen.group_counts()),
        reach=reach,
        text=f"{name} tells the label: {_compared(name, values, seen)}",
        reach_text=f"{name} tells the label of some: {reach:.0%} of {here} lie {side} 99% of {there}",
    )


def _place(name: str, pictures: np.ndarray, seen: Seen) -> Finding:
    """Look for what is always the same at a place in one class: a watermark, a logo, a frame."""
    pixels = pictures.reshape(len(pictures), -1)
    scores = np.zeros(len(pixels), np.float32)
    for fold in np.unique(seen.folds):
        held = seen.folds == fold
        score = _template(pixels[~held], seen.labels[~held], pixels[held])
        scores[held] = score / (score.std() + 1e-9)
    strengths = [np.abs(pixels[seen.labels == label].mean(axis=0)).max() for label in (0, 1)]
    strength, label = max(zip(strengths, (0, 1), strict=True))
    reach, reaching, _ = _reach(scores, seen)
    here, there = seen.class_names[reaching], seen.class_names[1 - reaching]
    return Finding(
        auc=max(0.5, _auc(seen.labels, scores)),
        chance=_chance(*seen.group_counts()),
        reach=reach,
        text=f"the {name} tells the label: in the mean picture of {seen.class_names[label]}, something stands out "
        f"there by {strength:.0f} grey levels, by {min(strengths):.0f} in that of {seen.class_names[1 - label]}",
        reach_text=f"the {name} tells the label of some: {reach:.0%} of {here} show there what 99% of {there} do not",
    )


def _within_groups(levels: dict[str, np.ndarray], seen: Seen) -> dict[str, Finding]:
    """Compare the levels of Real and Fake of the same group, as face swaps have them, where scenes hardly differ."""
    counts = [np.bincount(seen.groups[seen.labels == label], minlength=seen.groups.max() + 1) for label in (0, 1)]
    both = (counts[0] > 0) & (counts[1] > 0)
    pairs = int(both.sum())
    if pairs < MINIMUM:
        return {}
    findings = {}
    for name, values in levels.items():
        sums = [np.bincount(seen.groups, values * (seen.labels == label), len(both)) for label in (0, 1)]
        rise = (sums[1] / np.maximum(counts[1], 1) - sums[0] / np.maximum(counts[0], 1))[both]
        middle = np.median(rise)
        share = np.mean(np.sign(rise) == np.sign(middle))
        findings[name] = Finding(
            auc=_either_way(np.repeat((0, 1), pairs), np.concatenate([-rise, rise])),
            # By the variance of Wilcoxon's signed ranks (1945). A step of one grey level is what any change may make.
            chance=CHANCE / (3 * pairs) ** 0.5 if abs(middle) > 1 else 1.0,
            text=f"{name} tells the label within groups: in {share:.0%} of {pairs} groups it is higher in "
            f"{seen.class_names[int(middle > 0)]}, by {abs(middle):.1f} grey levels in the middle",
        )
    return findings


def _shortcuts(findings: dict[str, Finding], within: dict[str, Finding], together: float, seen: Seen) -> list[Shortcut]:
    found = _all_alarms(FILE, findings)
    found += _all_alarms(PICTURE if found else PICTURE + TRACES, findings)
    if within:
        found += _all_alarms(WITHIN_GROUPS, within)[:1]  # a shift of all levels moves the colours too
    if not found and together >= TOGETHER and together - 0.5 >= _chance(*seen.group_counts()):
        text = f"all traits together tell the label: a classifier that sees no picture has an AUC of {together:.2f}"
        found.append(Shortcut("all traits", together, text))
    return sorted(found, key=lambda shortcut: -shortcut.auc)


def _all_alarms(families: Sequence[Family], findings: dict[str, Finding]) -> list[Shortcut]:
    return [shortcut for family in families for shortcut in _alarms(family, findings)]


def _alarms(family: Family, findings: dict[str, Finding]) -> list[Shortcut]:
    """Return the most telling of a family as a shortcut, if it is alarming, and nothing otherwise."""
    sure = {n: findings[n] for n in family.names if findings[n].auc >= max(family.alarm, 0.5 + findings[n].chance)}
    some = {n: findings[n] for n in family.names if findings[n].reach >= family.reach}
    if not sure and not some:
        return []
    name = max(sure, key=lambda n: sure[n].auc) if sure else max(some, key=lambda n: some[n].reach)
    text = findings[name].text if sure else findings[name].reach_text
    others = [other for other in family.names if other != name and other in (sure or some)]
    return [Shortcut(name, findings[name].auc, text + _likewise(others))]


# ------------------------------------------------------------------------------------------------------------- in words


def _compared(name: str, values: np.ndarray, seen: Seen) -> str:
    """Say how the classes differ: in the shares of single values, or in the share above the best cut between them."""
    real, fake = (values[seen.labels == label] for label in (0, 1))
    kinds = np.unique(values)
    if name in CONTAINER:
        gaps = [np.mean(fake == kind) - np.mean(real == kind) for kind in kinds]
        if max(np.abs(gaps)) >= 0.05:
            most = dict.fromkeys((kinds[np.argmin(gaps)], kinds[np.argmax(gaps)]))
            return ", ".join(f"{describe(name, kind)} in {_shares(real == kind, fake == kind, seen)}" for kind in most)
    cuts = np.unique(np.percentile(values, range(100)))
    cut = cuts[np.argmax([abs(np.mean(fake > cut) - np.mean(real > cut)) for cut in cuts])]
    return f"{_shares(real > cut, fake > cut, seen)} are above {cut:.3g}"


def _shares(real: np.ndarray, fake: np.ndarray, seen: Seen) -> str:
    return f"{real.mean():.0%} of {seen.class_names[0]} and {fake.mean():.0%} of {seen.class_names[1]}"


def _likewise(names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"; so {'do' if len(names) > 1 else 'does'} {', '.join(names[:3])}{more}"


def _ranked(aucs: dict[str, float]) -> dict[str, float]:
    return dict(sorted(aucs.items(), key=lambda item: -item[1]))


# ----------------------------------------------------------------------------------------------------------- statistics


def _sample(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Draw at most `LIMIT` images of each class from as many groups as there are, the same ones in both classes."""
    place = np.random.default_rng(0).permutation(groups.max() + 1)[groups]
    chosen = []
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        rows = rows[np.argsort(place[rows], kind="stable")]
        turn = np.arange(len(rows)) - np.searchsorted(place[rows], place[rows])  # how many of its group come before it
        chosen.append(rows[np.lexsort((place[rows], turn))[:LIMIT]])
    return np.sort(np.concatenate(chosen))


def _folds(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    from sklearn.model_selection import StratifiedGroupKFold

    count = min(FOLDS, *(len(np.unique(groups[labels == label])) for label in (0, 1)))
    if count < 2:  # one video for all of a class: nothing can be held out but images
        count, groups = FOLDS, np.arange(len(labels))
    folds = np.zeros(len(labels), int)
    splits = StratifiedGroupKFold(count, shuffle=True, random_state=0).split(labels, labels, groups)
    for fold, (_, held) in enumerate(splits):
        folds[held] = fold
    return folds


def _cross_validated(score: Callable[..., np.ndarray], features: np.ndarray, seen: Seen) -> float:
    """Return the mean AUC over the folds of what scores unseen images after having seen the others."""
    aucs = []
    for fold in np.unique(seen.folds):
        held = seen.folds == fold
        if all(len(np.unique(seen.labels[part])) == 2 for part in (held, ~held)):
            scores = score(features[~held], seen.labels[~held], features[held])
            aucs.append(_auc(seen.labels[held], scores))
    return max(0.5, float(np.mean(aucs))) if aucs else 0.5


def _tree(known: np.ndarray, labels: np.ndarray, new: np.ndarray) -> np.ndarray:
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_leaf_nodes=16, min_samples_leaf=max(5, len(known) // 200), random_state=0)
    return tree.fit(known, labels).predict_proba(new)[:, 1]


def _boosted(known: np.ndarray, labels: np.ndarray, new: np.ndarray) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    trees = HistGradientBoostingClassifier(max_iter=50, max_leaf_nodes=8, min_samples_leaf=10, random_state=0)
    with threadpool_limits(1):  # on so few images, threads wait for each other most of the time
        return trees.fit(known, labels).predict_proba(new)[:, 1]


def _template(known: np.ndarray, labels: np.ndarray, new: np.ndarray) -> np.ndarray:
    difference = known[labels == 1].mean(axis=0) - known[labels == 0].mean(axis=0)
    return new @ (difference / (known.var(axis=0) + 1))


def _without_light(thumbnails: np.ndarray) -> np.ndarray:
    """Take the smooth part away, which differs from scene to scene; what stays at its place is left."""
    pictures = thumbnails.astype(np.float32)
    return np.stack(
        [picture - cv2.GaussianBlur(picture, (0, 0), 4, borderType=cv2.BORDER_REFLECT) for picture in pictures]
    )


def _auc(labels: np.ndarray, scores: np.ndarray) -> float:
    from scipy.stats import rankdata  # many times as fast as roc_auc_score on few images

    fakes = int(np.sum(labels))
    beaten = rankdata(scores)[labels == 1].sum() - fakes * (fakes + 1) / 2
    return float(beaten / (fakes * (len(labels) - fakes)))


def _either_way(labels: np.ndarray, scores: np.ndarray) -> float:
    auc = _auc(labels, scores)
    return max(auc, 1 - auc)


def _chance(real: int, fake: int) -> float:
    """Return how far chance takes an AUC from 0.5, by the variance of Mann and Whitney's U (1947).

    Images of one group are alike, so that groups count. A class of few videos counts as `MINIMUM` of them: it can still
    be seen that all of it are PNG and nothing else is.
    """
    real, fake = max(real, MINIMUM), max(fake, MINIMUM)
    return CHANCE * ((real + fake + 1) / (12 * real * fake)) ** 0.5


def _reach(values: np.ndarray, seen: Seen) -> tuple[float, int, str]:
    """Return the largest share of a class that lies beyond 99 % of the other, that class, and on which side."""
    if min(seen.group_counts()) < REACH_GROUPS:
        return 0.0, 0, ""
    shares = []
    for sign, side in ((1, "above"), (-1, "below")):
        for label in (0, 1):
            limit = np.quantile(sign * values[seen.labels != label], 0.99)
            shares.append((float(np.mean(sign * values[seen.labels == label] > limit)), label, side))
    return max(shares)
