"""Reads the names of genes and cells next to a ``matrix.mtx``, as Cell Ranger writes them and as R and others do.

That is with or without quotes, a header and row names, with tabs, commas or blanks between fields, and any line ends.
"""

import csv
import gzip
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import pandas as pd

from corpuscle.core.errors import SourceError
from corpuscle.core.paths import open_plain

# What a header may call a column, without blanks, dots and underscores; R calls columns without names V1, V2, … and x.
_SYMBOL = {"genename", "genesymbol", "symbol", "name", "geneshortname", "featurename", "genenames", "hgncsymbol"}
_TYPE = {"featuretype", "type", "featuretypes"}
_OTHER = {"genome", "chromosome", "chr", "start", "end", "strand"}
_HEADER = {
    "barcode", "barcodes", "cell", "cells", "cellid", "cellbarcode", "cellbarcodes", "cellname", "gene", "genes",
    "geneid", "geneids", "ensembl", "ensemblid", "ensemblgeneid", "feature", "features", "featureid", "id", "ids",
    "index", "x", "", *_SYMBOL, *_TYPE, *_OTHER,
}  # fmt: skip
# Cell Ranger's types of features; a third column of others is none of types.
_KINDS = {
    "gene expression", "antibody capture", "crispr guide capture", "multiplexing capture", "peaks", "custom",
    "vdj", "vdj-t", "vdj-b", "antigen capture",
}  # fmt: skip

# Texts of names and counts pack into a fifth to a tenth; the longest line of a table, in bytes.
PACKED, SMALL, LONGEST = 30, 16 << 20, 1 << 20


class _Bounded(io.RawIOBase):
    """Bytes as they are unpacked: refused where a line never ends, or where they are more than a text packs into.

    Parameters
    ----------
    file
        Gives the bytes.
    path
        The file on disk.
    """

    def __init__(self, file: io.BufferedReader | gzip.GzipFile, path: Path) -> None:
        self._file, self._name = file, path.name
        self._left = SMALL + PACKED * path.stat().st_size
        self._line = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some bytes; see `io.RawIOBase`."""
        n = self._file.readinto(buffer)
        found = bytes(memoryview(buffer)[:n])
        self._left -= n
        if self._left < 0:
            raise SourceError(f"damaged: {self._name} unpacks to more than {PACKED} times its size, as no table does")
        last = found.rfind(b"\n")
        self._line = self._line + n if last < 0 else n - last - 1
        if self._line > LONGEST:
            raise SourceError(f"damaged: {self._name} has a line of more than {LONGEST:,} bytes")
        return n

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def open_text(path: Path) -> IO[str]:
    """Open a text, packed or not.

    Reading raises a `SourceError` where a line is too long, or far more is unpacked than a text of names or counts
    packs into: a file of megabytes can hold gigabytes of zeros.
    """
    packed = path.name.lower().endswith(".gz")
    file = _Bounded(gzip.GzipFile(path) if packed else open_plain(path), path)
    return io.TextIOWrapper(io.BufferedReader(file, 1 << 17), encoding="utf-8-sig")


def read_features(path: Path, n: int) -> pd.DataFrame:
    """Read a feature table: index = ids; ``symbol`` and ``feature_type``, as far as they are there.

    Parameters
    ----------
    path
        The file: ids in the first column, and without a header symbols in the second and types in the third.
    n
        How many features the matrix is for: of one line more, the first may be a header.
    """
    rows, header = _rows(path, n)
    columns: dict[str, list[str]] = {}
    for name, at in _places([_plain(name) for name in header]).items():
        if rows and all(len(row) > at for row in rows):
            columns[name] = [row[at] for row in rows]
    if not {kind.lower() for kind in columns.get("feature_type", [])} & _KINDS:
        columns.pop("feature_type", None)
    return pd.DataFrame(columns, index=pd.Index([row[0] for row in rows], dtype=object))


def _places(header: list[str]) -> dict[str, int]:
    """Return which columns hold symbols and types: the second and the third, unless the header knows better."""
    if len(header) < 2 or all(re.fullmatch(r"v\d+", name) for name in header):
        return {"symbol": 1, "feature_type": 2}
    symbols = [at for at, name in enumerate(header) if at and name in _SYMBOL]
    types = [at for at, name in enumerate(header) if name in _TYPE]
    if not symbols and header[1] not in _OTHER | _TYPE:
        symbols = [1]
    return {name: found[0] for name, found in (("symbol", symbols), ("feature_type", types)) if found}


def read_barcodes(path: Path, n: int) -> pd.DataFrame:
    """Read the names of n cells, the first column: a table without columns, index = the names."""
    rows, _ = _rows(path, n)
    return pd.DataFrame(index=pd.Index([row[0] for row in rows], dtype=object))


def _rows(path: Path, n: int) -> tuple[list[list[str]], list[str]]:
    """Read the lines' fields, and the header's where there is one; row names before them are left out."""
    lines = []
    with open_text(path) as file:
        for line in file:
            if text := line.strip(" \r\n"):
                lines.append(text)
            # Enough to see that they are too many.
            if len(lines) > n + 1:
                break
    rows = _split(lines, path)
    header: list[str] = []
    if len(rows) == n + 1 and _is_header(rows[0]):
        header, *rows = rows
    if header and rows:
        # R writes row names without a name of their own: as a field more than the header has, or under an empty one.
        shorter = len(header) + 1 == len(rows[0])
        if shorter or (header[0] == "" and len(header) > 1):
            header, rows = header if shorter else header[1:], [row[1:] for row in rows]
    return rows, header


def _is_header(row: list[str]) -> bool:
    return all(_plain(name) in _HEADER or re.fullmatch(r"v\d+", _plain(name)) for name in row)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _split(lines: list[str], path: Path) -> list[list[str]]:
    """Split lines at tabs; without any, at commas or blanks where that gives all of them as many fields."""
    if any("\t" in line for line in lines):
        return [_fields(line, "\t") for line in lines]
    for separator in (",", " "):
        rows = [_fields(line, separator) for line in lines]
        widths = {len(row) for row in rows[1:] or rows}
        regular = len(widths) == 1 and widths.pop() > 1 and len(rows[0]) in (len(rows[-1]), len(rows[-1]) - 1)
        # What is not a name of its own is no column of names: a blank may be a part of one.
        if regular and len({row[0] for row in rows}) == len(rows):
            return rows
    rows = [[_unquoted(line)] for line in lines]
    if any(not row[0] for row in rows):
        raise SourceError(f"{path.name} has a line without a name")
    return rows


def _fields(line: str, separator: str) -> list[str]:
    # Only a quote that has its other is one: 5" may be a part of a name.
    if '"' in line and line.count('"') % 2 == 0:
        found = next(csv.reader([line], delimiter=separator, skipinitialspace=separator == " "))
    else:
        found = line.split(None if separator == " " else separator)
    return [_unquoted(field) for field in found]


def _unquoted(field: str) -> str:
    """Take off quotes around a whole field."""
    field = field.strip()
    enclosed = len(field) > 1 and field[0] == field[-1] and field[0] in "\"'"
    return field[1:-1].replace('""', '"') if enclosed else field


def find_file(folder: Path, names: Iterable[str]) -> Path | None:
    """Return the file of a folder with one of these names, the first there is, in small letters or capitals."""
    there = {entry.name.lower(): entry for entry in sorted(folder.iterdir(), reverse=True)} if folder.is_dir() else {}
    return next((there[name.lower()] for name in names if name.lower() in there), None)
