"""Label columns: which column of obs holds which label, as somebody says it; a name that nothing uses is refused."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from corpuscle.core.components import Component, legal_names
from corpuscle.core.errors import InputError, SourceError
from corpuscle.corpus.cell_ontology import TERM_COLUMN
from corpuscle.source import cell_filter
from corpuscle.source.source import RESERVED, ROLES


def label_columns(labels: object, *users: Component) -> dict[str, str]:
    """Check what is given as ``labels``.

    A key is one of `ROLES`, or a column that a setting of a component names: alone, or in a filter. What is neither is
    refused: nothing would read it, so it is likely misspelt.

    Parameters
    ----------
    labels
        By label, the column of ``obs`` that holds it; None: no column has another name.
    users
        The components that will look at the cells.

    Raises
    ------
    InputError
        When it is no such table, or a key is not used.

    Examples
    --------
    >>> label_columns({"cell_type": "louvain"})
    {'cell_type': 'louvain'}
    >>> label_columns({"celltype": "louvain"})
    Traceback (most recent call last):
    corpuscle.core.errors.InputError: labels: nothing here uses a label 'celltype'; did you mean 'cell_type'? ...
    """
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        raise InputError(
            f'labels: expected which column holds each label, such as {{"cell_type": "louvain"}}; got {labels!r:.80}'
        )
    named = {name for user in users for name in _names(user.spec())} - {"", *RESERVED, *ROLES}
    for label, column in labels.items():
        if label not in {*ROLES, TERM_COLUMN, *named}:
            hint = legal_names(str(label), ROLES)
            raise InputError(
                f"labels: nothing here uses a label {label!r:.80}; {hint}, and what a setting such as by or where names"
            )
        if not isinstance(column, str):
            raise InputError(f"labels: {label}: expected the name of a column of obs, a text; got {column!r:.80}")
    return dict(labels)


def _names(value: Any) -> Iterator[str]:
    """Yield the texts of settings, and the columns of those that are filters."""
    if isinstance(value, str):
        yield value
        with suppress(SourceError):
            yield from cell_filter.columns(value)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _names(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _names(part)
