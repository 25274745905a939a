"""Common names: what cell types are called in most data sets, and the term of the Cell Ontology that each means.

The ontology's own synonyms hardly have these abbreviations. The table is ours; a test holds it to the ontology.
"""

import csv
import functools
import re
from importlib.resources import files
from typing import NamedTuple

from corpuscle.source.spelling import SIGN, with_signs

# Words that are written in two ways, so that both are found.
_WORDS = {"dc": ("dendritic",), "nk": ("natural", "killer"), "mono": ("monocyte",), "macro": ("macrophage",)}
# What says that a marker is there, or nothing at all.
_EMPTY = frozenset({"cell", "positive", "pos", "the", "of"})

# Marks that doubt a type (B?) or name two (T/NK), and signs of no marker.
_ODD = re.compile(rf"[^\w\s+.,()\[\]{SIGN}]|(?<![\w)+{SIGN}(])[+{SIGN}]")


class CommonName(NamedTuple):
    """A term of the Cell Ontology that a label commonly means: its id and its name."""

    term: str
    name: str


def common_name(label: str) -> CommonName | None:
    """Return the term that a label commonly means; None where that is not known.

    Examples
    --------
    >>> common_name("CD14+ Monocytes")
    CommonName(term='CL:0001054', name='CD14-positive monocyte')
    >>> common_name("CD4- T"), common_name("CD14+ Monocytes?")
    (None, None)
    """
    return None if _ODD.search(with_signs(label)) else _common_names().get(tuple(sorted(normal_words(label))))


@functools.cache
def _common_names() -> dict[tuple[str, ...], CommonName]:
    path = files("corpuscle.corpus") / "common_names.csv"
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return {tuple(sorted(normal_words(row["name"]))): CommonName(row["term"], row["called"]) for row in rows}


@functools.lru_cache(maxsize=20_000)
def normal_words(label: str) -> tuple[str, ...]:
    r"""Return the words of a label without case, plural, "cell" and what only says that a marker is there.

    Examples
    --------
    >>> normal_words("CD14+ Monocytes"), normal_words("CD4-positive T cell"), normal_words("CD27-IgD- B")
    (('cd14', 'monocyte'), ('cd4', 't'), ('cd27\u2212', 'igd\u2212', 'b'))
    """
    found: list[str] = []
    for word in re.findall(rf"[^\W_]+{SIGN}?", with_signs(label)):
        singular = word[:-1] if len(word) > 2 and word.endswith("s") and not word.endswith(("ss", "us")) else word
        if singular in ("negative", "neg") and found:
            found[-1] = found[-1].removesuffix(SIGN) + SIGN
        elif singular not in _EMPTY:
            found += _WORDS.get(singular, (singular,))
    return tuple(found)
