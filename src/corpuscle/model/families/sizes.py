"""A network's size in a study file: a published name, or a table of widths."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from corpuscle.core.components import component, legal_names
from corpuscle.model.size import MOST_LAYERS, MOST_UNITS

S = TypeVar("S")
Units = Annotated[int, Field(gt=0, le=MOST_UNITS)]
Layers = Annotated[int, Field(gt=0, le=MOST_LAYERS)]


@component
class TransformerSize:
    """Widths of a transformer whose heads divide its width.

    Parameters
    ----------
    width, layers, heads, feed_forward
        Numbers of a token and of a cell's embedding, number of blocks, heads of a block, units of its inner layer.

    Examples
    --------
    >>> TransformerSize(width=64, layers=2, heads=3, feed_forward=64)
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: ...width (64) should be a multiple of heads (3)...
    """

    width: Units
    layers: Layers
    heads: Units
    feed_forward: Units

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) should be a multiple of heads ({self.heads})")
        return self


def sized(sizes: Mapping[str, S], kind: Callable[..., S]) -> BeforeValidator:
    """Return what makes a size of what a study file says.

    Parameters
    ----------
    sizes
        Those with a name.
    kind
        What makes one of a table.

    Examples
    --------
    >>> sized({"tiny": 3}, dict).func("tiny")
    3
    >>> sized({"tiny": 3}, dict).func("tinny")
    Traceback (most recent call last):
    ValueError: there is no size 'tinny'; did you mean 'tiny'? ...
    """

    def size_of(value: Any) -> Any:
        if isinstance(value, str):
            if value not in sizes:
                raise ValueError(f"there is no size {value!r}; {legal_names(value, sizes)}")
            return sizes[value]
        return kind(**value) if isinstance(value, dict) else value

    # Names that are known when it runs.
    names: Any = Literal.__getitem__(tuple(sizes))
    return BeforeValidator(size_of, json_schema_input_type=names | kind)
