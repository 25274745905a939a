"""Plain TOML: read by a parser that takes neither minutes nor gigabytes for a few kilobytes that somebody made up."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

# Nothing that is read is nested deeper than a few tables; what walks through more would run out of stack.
DEEPEST = 100
TEXT = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'',
    re.DOTALL,
)
# Texts and comments; and what may be a dotted key, once texts are out of the way.
_SAID = re.compile(rf"#[^\n]*|{TEXT.pattern}", re.DOTALL)
_KEYS = re.compile(r"[A-Za-z0-9_.\" \t-]+")


def parse_toml(text: str) -> dict[str, Any]:
    """Read TOML.

    Raises
    ------
    ValueError
        When it is none, or is nested more than `DEEPEST` deep; its text says why, and mostly where.

    Examples
    --------
    >>> parse_toml("a.b = 1")
    {'a': {'b': 1}}
    """
    _refuse_deep_keys(text)
    try:
        found = tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"tables or lists nested more than {DEEPEST} deep") from None
    except ValueError as error:
        # Python's own words for such a number advise a setting of Python.
        if "int_max_str_digits" in str(error):
            raise ValueError("a whole number of thousands of digits") from None
        raise
    # What is nested too deep is seen on the way.
    for _ in beyond_64_bits(found):
        pass
    return found


def _refuse_deep_keys(text: str) -> None:
    """Refuse dotted keys of very many parts, for which the parser takes time and memory by their square.

    Raises
    ------
    ValueError
        Where there is one.
    """
    for number, line in enumerate(_SAID.sub(_line_ends, text).split("\n"), start=1):
        if line.count(".") > DEEPEST and any(part.count(".") > DEEPEST for part in _KEYS.findall(line)):
            raise ValueError(f"tables or lists nested more than {DEEPEST} deep (at line {number}, column 1)")


def _line_ends(match: re.Match[str]) -> str:
    return '""' + "\n" * match[0].count("\n")


def beyond_64_bits(value: Any, place: str = "", depth: int = 0) -> Iterator[str]:
    """List the places of whole numbers that TOML does not have, some too long to be printed.

    Raises
    ------
    ValueError
        When lists or tables are nested more than `DEEPEST` deep.
    """
    if depth > DEEPEST:
        raise ValueError(f"tables or lists nested more than {DEEPEST} deep")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        yield place
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from beyond_64_bits(part, f"{place}.{key}" if place else key, depth + 1)
    elif isinstance(value, list):
        for at, part in enumerate(value):
            yield from beyond_64_bits(part, f"{place}[{at}]", depth + 1)
