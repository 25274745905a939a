"""Named labels: the labels that a setting of a component names, so that a study can check what they are called."""

from collections.abc import Iterable
from typing import NamedTuple


class NamedLabels(NamedTuple):
    """Labels that a setting names.

    Attributes
    ----------
    setting
        The setting's name.
    column
        The column that they are of.
    labels
        The labels.
    """

    setting: str
    column: str
    labels: tuple[str, ...]


def named_labels(setting: str, column: str, value: object) -> tuple[NamedLabels, ...]:
    """Return what a setting names, where it is a list of labels or a table by label; nothing otherwise.

    Examples
    --------
    >>> named_labels("types", "cell_type", ["B", "T"])
    (NamedLabels(setting='types', column='cell_type', labels=('B', 'T')),)
    >>> named_labels("types", "cell_type", 2)
    ()
    """
    if isinstance(value, str) or not isinstance(value, Iterable):
        return ()
    return (NamedLabels(setting, column, tuple(map(str, value))),)
