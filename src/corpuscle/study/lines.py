"""Find the line of a TOML text that a dotted place stands on; the standard parser does not report it."""

import re
from bisect import bisect
from collections import Counter
from contextlib import suppress
from functools import lru_cache

from corpuscle.core.plain_toml import TEXT

# What has no meaning of its own: blanks, line ends and comments.
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}#\n]*")
_LAST_PART = re.compile(r"(\.[^.\[\]]*|\[\d+\])$")


def line_of(text: str, place: str) -> int:
    r"""Return the line, counted from 1, that a place such as ``corpora[1].parts[0].n_cells`` stands on.

    The line is the key's where it can be found, else that of the innermost table that holds it; 0 when even that
    cannot be found. It serves messages only: nothing is read by it.

    Parameters
    ----------
    text
        Legal TOML.
    place
        Keys joined by dots, positions in lists in brackets.

    Examples
    --------
    >>> line_of('name = "x"\n[[corpora]]\nname = "A"\n[[corpora]]\nname = "B"\n', "corpora[1].name")
    5
    """
    lines = _lines(text)
    while place:
        if place in lines:
            return lines[place]
        shorter = _LAST_PART.sub("", place)
        place = shorter if shorter != place else ""
    return 0


@lru_cache(maxsize=4)
def _lines(text: str) -> dict[str, int]:
    scanner = _Scanner(text)
    with suppress(RecursionError):
        scanner.scan()
    return scanner.lines


class _Scanner:
    """Walks through a TOML text that the parser has found legal, noting the line of each key and list element."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.lines: dict[str, int] = {}
        self.n_tables: Counter[str] = Counter()
        self.line_ends = [match.start() for match in re.finditer("\n", text)]

    def scan(self) -> None:
        """Note the line of each place."""
        table = ""
        while self._skip() < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _skip(self) -> int:
        """Go to the next thing that has a meaning, and return where it is."""
        self.at = self._end(_SPACE)
        return self.at

    def _end(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self.text, self.at)
        return found.end() if found else self.at

    def _note(self, place: str) -> None:
        self.lines.setdefault(place, bisect(self.line_ends, self.at) + 1)

    def _header(self) -> str:
        """Read ``[table]`` or ``[[table]]``, and return its place."""
        start, is_list = self.at, self.text.startswith("[[", self.at)
        self.at += 1 + is_list
        place = ""
        keys = self._keys()
        self.at, end = start, self.at
        for depth, key in enumerate(keys, start=1):
            place = _joined(place, key)
            self._note(place)
            if is_list and depth == len(keys):
                self.n_tables[place] += 1
            # What follows [[corpora]] under [corpora.x] belongs to its latest element.
            if self.n_tables[place]:
                place = f"{place}[{self.n_tables[place] - 1}]"
                self._note(place)
        self.at = self.text.index("]", end) + 1 + is_list
        return place

    def _keys(self) -> list[str]:
        """Read a dotted key."""
        keys = []
        while True:
            self._skip()
            end = self._end(TEXT)
            if end > self.at:
                keys.append(self.text[self.at + 1 : end - 1])
            else:
                end = self._end(_BARE_KEY)
                keys.append(self.text[self.at : end])
            self.at = end
            if self.text[self._skip()] != ".":
                return keys
            self.at += 1

    def _pair(self, table: str) -> None:
        """Read ``key = value``."""
        start, keys = self.at, self._keys()
        self.at, end = start, self.at
        place = table
        for key in keys:
            place = _joined(place, key)
            self._note(place)
        self.at = end + 1
        self._value(place)

    def _value(self, place: str) -> None:
        opening = self.text[self._skip()]
        if opening in "[{":
            self._inside(place, "]" if opening == "[" else "}")
        else:
            self.at = max(self._end(TEXT), self._end(_BARE_VALUE)) if opening not in "\"'" else self._end(TEXT)

    def _inside(self, place: str, closing: str) -> None:
        """Read a list or an inline table, up to its closing bracket."""
        self.at += 1
        element = 0
        while self.text[self._skip()] != closing:
            if self.text[self.at] == ",":
                self.at += 1
            elif closing == "}":
                self._pair(place)
            else:
                self._note(f"{place}[{element}]")
                self._value(f"{place}[{element}]")
                element += 1
        self.at += 1


def _joined(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
