"""Near labels: which of some labels may mean what another one does, to be named in a message, never to be acted on."""

import difflib
from collections.abc import Iterable
from typing import NamedTuple

from corpuscle.corpus.common_names import common_name, normal_words
from corpuscle.source.spelling import SIGN

# Of many labels, so many are compared with one: a message needs a hint, not a proof.
MOST_COMPARED, MOST_NEAR = 2_000, 3
# A word may be cut to so many letters; shorter words are whole.
SHORTEST = 3
# Words at least this long, without digits, may have a slip of the finger.
LONG = 6


class Near(NamedTuple):
    """A label that may mean the same, and how likely that is: 1 where nothing but the way of writing differs."""

    label: str
    share: float


def near_labels(label: str, others: Iterable[str]) -> list[Near]:
    """Return the labels that may mean what another does, the nearest first.

    Words are compared without regard to order and plural, "cell" and a plus; one may be an abbreviation of the other.
    All words of one label must be found in the other: CD4 T is not near CD8 T, and CD4+ T is not near CD4- T.

    Examples
    --------
    >>> near_labels("CD14 Mono", ["CD14+ Monocyte", "Monocytes", "CD16 Mono", "B"])
    [Near(label='CD14+ Monocyte', share=1.0), Near(label='Monocytes', share=0.5)]
    """
    found = [Near(other, share) for other in [*others][:MOST_COMPARED] if (share := _share(label, other)) > 0]
    return sorted(found, key=lambda near: (-near.share, near.label))[:MOST_NEAR]


def _share(one: str, other: str) -> float:
    """Return which share of the words of the longer label the shorter one has, if it has no other."""
    if one == other:
        return 0.0
    known, also = common_name(one), common_name(other)
    if known is not None and also is not None and known.term == also.term:
        return 1.0
    fewer, more = sorted((normal_words(one), normal_words(other)), key=len)
    left = [*more]
    for word in fewer:
        same = next((found for found in left if _same(word, found)), None)
        if same is None:
            return 0.0
        left.remove(same)
    return len(fewer) / len(more) if fewer else 0.0


def _same(one: str, other: str) -> bool:
    """Return whether two words are one, or one is the other's beginning."""
    if one == other:
        return True
    short, long = sorted((one, other), key=len)
    if any(mark in one + other for mark in f"0123456789{SIGN}"):
        return False
    if len(short) >= SHORTEST and long.startswith(short):
        return True
    return len(short) >= LONG and difflib.SequenceMatcher(None, short, long).ratio() >= 0.85
