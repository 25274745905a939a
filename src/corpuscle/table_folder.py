"""Table folder: where a command that computes for a while writes its tables; one that cannot be is refused at once."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def check_folder(folder: Path | None) -> None:
    """Refuse what cannot be a folder to write into; nothing is made yet.

    Raises
    ------
    FolderError
        When it, or a folder that it is to be in, is a file, or must not be written.
    """
    from corpuscle.core.errors import FolderError
    from corpuscle.core.paths import is_there

    if folder is None:
        return
    try:
        nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if is_there(path))
        why = "" if nearest.is_dir() else f"{nearest} is no folder"
        why = why or ("" if os.access(nearest, os.W_OK | os.X_OK) else f"{nearest} must not be written")
    except PermissionError as error:
        why = str(error)
    if why:
        raise FolderError(f"{folder}: cannot be written ({why}); choose another folder with -o")


def write_tables(folder: Path, tables: Mapping[str, "pd.DataFrame"]) -> None:
    """Write tables as CSV into a folder, which is made where it is not there.

    Raises
    ------
    FolderError
        When it cannot be written.
    """
    from corpuscle.core.csv_text import csv_text
    from corpuscle.core.errors import FolderError
    from corpuscle.store import write_text

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(f"{folder}: cannot be written ({error}); choose another folder with -o") from None
    for name, table in tables.items():
        write_text(folder / f"{name}.csv", csv_text(table))
