"""LabelMap: which labels a study takes for which, as a table, a file or the packaged data sets' own say it."""

import csv
import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import islice
from pathlib import Path

from corpuscle.core.errors import SourceError
from corpuscle.core.paths import read_plain
from corpuscle.core.text import is_missing, shortened
from corpuscle.source.reader import located

# In place of a file: the packaged data sets' own, and none but what is spelled alike.
PACKAGED, ALIKE = "packaged", "alike"
# Rows of a file, and letters of a label: more is no such table.
MOST_LABELS, MOST_LETTERS = 1_000_000, 1_000
# What a spreadsheet would take for a formula is written behind an apostrophe; see `corpuscle.core.csv_text`.
_ESCAPED = ("'=", "'+", "'-", "'@", "'\t", "'\r")


@dataclass(frozen=True)
class LabelMap:
    """Labels, and what each is called.

    Attributes
    ----------
    names
        By label, its name. Applied once: what a name is called in turn does not matter.
    undecided
        Labels of a file that have no name there: they stay as they are.
    lines
        The line of the file on which each label is; empty without a file.
    """

    names: Mapping[str, str]
    undecided: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def of(given: str | Mapping[str, str], folder: Path) -> "LabelMap":
        """Return the map that a study file gives.

        Parameters
        ----------
        given
            Names by label; the path of a file; ``"packaged"``, or ``"alike"``, which names nothing.
        folder
            What a path is relative to.

        Raises
        ------
        SourceError
            When the file cannot be read, or is no such table.

        Examples
        --------
        >>> LabelMap.of("packaged", Path()).names["FCGR3A Monocytes"]
        'CD14-low, CD16-positive monocyte'
        """
        if isinstance(given, Mapping):
            return LabelMap(dict(given))
        if given == ALIKE:
            return LabelMap({})
        return _packaged() if given == PACKAGED else LabelMap.read(located(given, folder))

    @staticmethod
    def read(path: Path) -> "LabelMap":
        """Read a file with the columns ``from`` and ``to``, parted by commas, tabs or semicolons; others are ignored.

        Raises
        ------
        SourceError
            When it cannot be read, lacks a column, has a row without ``from``, or gives one label two names.
        """
        named = shortened(str(path))
        try:
            text = read_plain(path, "utf-8-sig")
        except FileNotFoundError:
            raise SourceError(
                f"{named}: there is no such file; `corpuscle labels STUDY -o FILE` writes a first one"
            ) from None
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{named}: is not UTF-8 ({error.reason} at byte {error.start:,}); save it as such"
            ) from None
        # A path with a null in it is a ValueError.
        except (OSError, ValueError) as error:
            raise SourceError(f"{named}: cannot be read ({error})") from None
        return _parsed(text, named)


@functools.cache
def _packaged() -> LabelMap:
    path = files("corpuscle.source") / "datasets" / "labels.csv"
    return LabelMap(_parsed(path.read_text(encoding="utf-8"), "labels.csv").names)


def _parsed(text: str, named: str) -> LabelMap:
    header = text[: text.find("\n")] if "\n" in text else text
    mark = next((mark for mark in "\t;" if mark in header and "," not in header), ",")
    rows = csv.reader(io.StringIO(text), delimiter=mark, strict=True)
    names, undecided, lines = dict[str, str](), [], dict[str, int]()
    try:
        columns = [column.strip().casefold() for column in next(rows, [])]
        if columns.count("from") != 1 or columns.count("to") != 1:
            found = shortened(", ".join(columns)) or "nothing"
            raise SourceError(
                f"{named}: expected a table with the columns from and to, and others if need be; got {found}"
            )
        at_from, at_to = columns.index("from"), columns.index("to")
        for row in islice(rows, MOST_LABELS + 1):
            if not any(cell.strip() for cell in row):
                continue
            if len(row) > len(columns) or len(row) <= at_from:
                raise SourceError(f"{named}, line {rows.line_num}: has {len(row)} cells, and the header {len(columns)}")
            label, name = _cell(row[at_from]), _cell(row[at_to]) if len(row) > at_to else ""
            _refuse_cells(label, name, f"{named}, line {rows.line_num}")
            if (known := lines.get(label)) is not None and names.get(label, "") != name:
                raise SourceError(
                    f"{named}, line {rows.line_num}: {label!r} is {name!r} here, and {names.get(label, '')!r} on line "
                    f"{known}; keep one of them (names for one source are under [sources])"
                )
            lines.setdefault(label, rows.line_num)
            if name:
                names[label] = name
            elif known is None:
                undecided.append(label)
    except csv.Error as error:
        raise SourceError(f"{named}, line {rows.line_num}: is no such table ({error})") from None
    if len(lines) > MOST_LABELS:
        raise SourceError(f"{named}: has more than {MOST_LABELS:,} rows, which are no labels")
    return LabelMap(names, tuple(undecided), lines)


def _cell(text: str) -> str:
    return text[1:] if text.startswith(_ESCAPED) else text


def _refuse_cells(label: str, name: str, where: str) -> None:
    if not label.strip():
        raise SourceError(f"{where}: has nothing under from; name the label, or take the row out")
    if name and is_missing(name):
        raise SourceError(f"{where}: {name!r} stands for no label; leave such cells out with the source's where")
    if max(len(label), len(name)) > MOST_LETTERS:
        raise SourceError(f"{where}: has a label of more than {MOST_LETTERS:,} letters")
