"""What the scripts of the studies share: their words, and one message and exit code 2 for what cannot be used."""

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import anndata as ad

from corpuscle.core.errors import CorpuscleError, InputError
from corpuscle.core.paths import is_there
from corpuscle.source.reader import gist
from corpuscle.store import atomic


def words(text: str | None) -> argparse.ArgumentParser:
    """Return what reads a script's words; ``--help`` shows the script's own text, `text`."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def a_folder(text: str) -> Path:
    """Return a folder that is there, as one of a script's words."""
    try:
        there = is_there(path := Path(text))
    except PermissionError as error:
        raise argparse.ArgumentTypeError(f"{text!r} may not be read ({gist(error)})") from None
    if not there or not path.is_dir():
        raise argparse.ArgumentTypeError(f"expected a folder; {text!r} {'is a file' if there else 'is not there'}")
    return path


def a_number(text: str) -> int:
    """Return a whole number above 0, as one of a script's words."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0; got {text!r}")
    return int(text)


def refuse_missing(folder: Path, names: Iterable[str], what: str) -> None:
    """Refuse a folder that lacks files which are needed.

    Parameters
    ----------
    folder
        Where they should be.
    names
        Their names, or patterns with ``*`` that something should match.
    what
        What they are and where they are from, to end the message with.

    Raises
    ------
    InputError
        With the names of all that are missing.
    """
    if missing := [name for name in names if not any(folder.glob(name))]:
        raise InputError(f"{folder}: expected {', '.join(missing)}, which {_are(missing)} not there; {what}")


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def write_cells(cells: ad.AnnData, path: Path) -> None:
    """Write cells as ``.h5ad``, whole or not at all, and say where."""
    path.parent.mkdir(exist_ok=True)
    with atomic(path) as partial:
        cells.write_h5ad(partial, compression="gzip")
    sys.stdout.write(f"{path}\n")


def run(main: Callable[[], None]) -> None:
    """Do what a script does; what cannot be used is one message, and exit code 2 (1: a disk that is full, say)."""
    try:
        main()
    except CorpuscleError as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(2 if isinstance(error, InputError) else 1)
