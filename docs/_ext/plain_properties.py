"""Properties whose first sentence has a colon: napoleon would take what is before it for a type, and drop it."""

from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon import docstring


def _as_written(self: docstring.NumpyDocstring) -> list[str]:
    return self._dedent(self._consume_to_end())


def setup(_: Sphinx) -> dict[str, Any]:
    """Let docstrings of properties stand as they are written: types live in the signature."""
    docstring.NumpyDocstring._parse_attribute_docstring = _as_written  # type: ignore[method-assign]
    return {"version": "1", "parallel_read_safe": True}
