"""Renamed: what labels are called instead, and why; and which names of a column differ by spelling alone."""

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from corpuscle.source.label_map import LabelMap
from corpuscle.source.spelling import spelling

# Ids by which cells are grouped: equal ones of two sources may be two people, so none is taken as another unasked.
IDS = frozenset({"donor", "batch"})


class Given(NamedTuple):
    """The names that a study gives for a column, of all sources or of one.

    Attributes
    ----------
    place
        Where in the study file.
    labels
        The names.
    how
        Where they are from: ``given``, ``packaged``, or a file's path.
    """

    place: str
    labels: LabelMap
    how: str


class Renamed(NamedTuple):
    """What a label is called, and why."""

    name: str
    how: str


# The names of one spelling: by name, the sources and labels that are called so.
Group = dict[str, list[tuple[str, str]]]


def by_spelling(there: Mapping[str, Mapping[str, int]], found: Mapping[str, Mapping[str, Renamed]]) -> dict[str, Group]:
    """Put what labels are called together by spelling.

    Parameters
    ----------
    there
        By source, its labels.
    found
        By source, those of them that are called otherwise.

    Examples
    --------
    >>> by_spelling({"one": {"B cell": 9}, "two": {"b-cell": 5}}, {"one": {}, "two": {}})
    {'bcell': {'B cell': [('one', 'B cell')], 'b-cell': [('two', 'b-cell')]}}
    """
    groups = defaultdict[str, Group](dict)
    for source, labels in there.items():
        for label in labels:
            name = found[source][label].name if label in found[source] else label
            groups[spelling(name)].setdefault(name, []).append((source, label))
    return dict(groups)
