"""A network's size in a study file: a published name, or a table of widths."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from corpuscle.core.components import legal_names

S = TypeVar("S")


def sized(sizes: Mapping[str, S], kind: Callable[..., S]) -> Callable[[Any], Any]:
    """Return what makes a size of what a study file says.

    Parameters
    ----------
    sizes
        Those with a name.
    kind
        What makes one of a table.

    Examples
    --------
    >>> sized({"tiny": 3}, dict)("tiny")
    3
    >>> sized({"tiny": 3}, dict)("tinny")
    Traceback (most recent call last):
    ValueError: there is no size 'tinny'; did you mean 'tiny'? ...
    """

    def size_of(value: Any) -> Any:
        if isinstance(value, str):
            if value not in sizes:
                raise ValueError(f"there is no size {value!r}; {legal_names(value, sizes)}")
            return sizes[value]
        return kind(**value) if isinstance(value, dict) else value

    return size_of
