"""Texts that come from data or from a study file, made fit to show: bounded in length, without control characters."""

import re

# Texts that stand for no label and for no gene's name, as R, pandas and spreadsheets write what is missing; blanks
# around them do not count.
MISSING = frozenset({"", "nan", "NaN", "Nan", "NAN", "NaT", "NA", "N/A", "n/a", "#N/A", "<NA>", "None", "null", "NULL"})
# Control characters but tab and line end: C0, DEL, C1; and marks that change the direction or the line of what follows.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
# A message has a screen's worth of letters at most.
MESSAGE = 4000


def shown(text: object, most: int = MESSAGE) -> str:
    r"""Return a text as it may be printed to a terminal: control characters are escaped, what is too long is cut.

    A column's name may hold the codes that colour, clear or retitle a terminal, or that turn the reading direction.

    Examples
    --------
    >>> shown("\x1b[31mred")
    '\\x1b[31mred'
    >>> shown("a" * 50, most=10)
    'aaaaaaaaaa…'
    """
    return escaped(shortened(str(text), most))


def escaped(text: str) -> str:
    r"""Return a text whole, with control characters escaped.

    Examples
    --------
    >>> escaped("\x1b]0;title\x07")
    '\\x1b]0;title\\x07'
    """
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def shortened(text: str, most: int = 200) -> str:
    """Return a text, cut where it is longer than `most` letters.

    Examples
    --------
    >>> shortened("abcdef", 3)
    'abc…'
    """
    return text if len(text) <= most else f"{text[:most]}…"


def is_missing(text: str) -> bool:
    """Return whether a text stands for nothing, as where a label is missing.

    Examples
    --------
    >>> is_missing(" NA "), is_missing("Namibia")
    (True, False)
    """
    return text.strip() in MISSING


def plural(count: int, noun: str) -> str:
    """Write a count with its noun.

    Examples
    --------
    >>> plural(1, "corpus", ), plural(3, "seed"), plural(2, "corpus")
    ('1 corpus', '3 seeds', '2 corpora')
    """
    many = "corpora" if noun == "corpus" else f"{noun}s"
    return f"{count:,} {noun if count == 1 else many}"
