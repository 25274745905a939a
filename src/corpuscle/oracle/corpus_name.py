"""Corpus name: what a mixture is called as a corpus: one line that is short enough, and no other's."""

import re

from corpuscle.study.tables import LONGEST_NAME


def corpus_name(name: str, taken: set[str]) -> str:
    """Return a name that a corpus can have and that is not taken, and take it; upper and lower case are one.

    Parameters
    ----------
    name
        What it would be called: the names of sources in it may be of any length, and are from data, where they are
        labels.
    taken
        Names that others have, by `str.casefold`; the new one is added.

    Examples
    --------
    >>> taken = {"natural"}
    >>> corpus_name("Natural", taken), corpus_name("natural", taken), len(corpus_name("all but " + 90 * "x", taken))
    ('Natural (2)', 'natural (3)', 80)
    """
    plain = re.sub(r"[\x00-\x1f]+", " ", name)
    short, at = _cut(plain, LONGEST_NAME), 1
    while short.casefold() in taken:
        at += 1
        ending = f" ({at})"
        short = _cut(plain, LONGEST_NAME - len(ending)) + ending
    taken.add(short.casefold())
    return short


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
