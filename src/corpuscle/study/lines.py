"""Find the line of a TOML text that a dotted place stands on; the standard parser does not tell."""

import re

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_PART = re.compile(r"[^.\[\]]+|\[\d+\]")


def line_of(text: str, place: str) -> int:
    r"""Return the line, counted from 1, that a place such as ``corpora[1].parts[0].n_cells`` stands on.

    The line is the key's where it can be found, else that of the innermost table that holds it; 0 when even that
    cannot be found. It serves messages only: nothing is read by it.

    Examples
    --------
    >>> line_of('name = "x"\n[[corpora]]\nname = "A"\n[[corpora]]\nname = "B"\n', "corpora[1].name")
    5
    """
    parts = _PART.findall(place)
    lines = text.splitlines()
    best = 0
    for table, start, stop, depth in _tables(lines):
        if parts[:depth] != table:
            continue
        best = best if start == 0 else start
        found = _key_line(lines, start, stop, parts[depth:])
        if found:
            return found
    return best


def _tables(lines: list[str]) -> list[tuple[list[str], int, int, int]]:
    """List the tables of a text: path, first line after the header, last line, and how many parts the path has."""
    found: list[tuple[list[str], int, int, int]] = []
    seen: dict[str, int] = {}
    path: list[str] = []
    start = 0
    for number, line in enumerate(lines, start=1):
        header = _HEADER.match(line)
        if not header:
            continue
        found.append((path, start, number - 1, len(path)))
        names = [name.strip().strip("\"'") for name in header[2].split(".")]
        if header[1] == "[[":
            at = seen[header[2]] = seen.get(header[2], -1) + 1
            path = [*names, f"[{at}]"]
        else:
            path = names
        start = number
    found.append((path, start, len(lines), len(path)))
    # Deepest first, so that the innermost table that fits is looked at first.
    return sorted(found, key=lambda table: -table[3])


def _key_line(lines: list[str], start: int, stop: int, keys: list[str]) -> int:
    """Find the line of the first of the keys that stands at a line's beginning, or of an element of its array."""
    names = [key for key in keys if not key.startswith("[")]
    if not names:
        return 0
    for number in range(start + 1, stop + 1):
        if re.match(rf"\s*[\"']?{re.escape(names[0])}[\"']?\s*[.=]", lines[number - 1]):
            return _element_line(lines, number, stop, keys)
    return 0


def _element_line(lines: list[str], number: int, stop: int, keys: list[str]) -> int:
    """Where an array has its elements on lines of their own, each an inline table, count down to the element."""
    if len(keys) < 2 or not keys[1].startswith("[") or "{" in lines[number - 1]:
        return number
    wanted, seen = int(keys[1][1:-1]), -1
    for at in range(number + 1, stop + 1):
        seen += lines[at - 1].lstrip().startswith(("{", '"', "'"))
        if seen == wanted:
            return at
    return number
