"""Reading: tables of weights and scores from files."""

from pathlib import Path

import pandas as pd

from corpuscle.core.errors import InputError
from corpuscle.core.paths import SPECIAL, is_special

SUFFIXES = (".csv", ".tsv", ".parquet")


def read_table(path: Path | str, what: str, *, unnamed: str | None = None) -> pd.DataFrame:
    """Read a table of weights, scores, or something else.

    Parameters
    ----------
    path
        A .csv, .tsv or .parquet file with a row of names.
    what
        What it is a table of, for messages.
    unnamed
        What to call a first column of texts without a name, or the names of rows of a .parquet file; None: such are
        left out, as row numbers are.

    Raises
    ------
    InputError
        When it cannot be read, or two of its columns have one name.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: expected a table of {what} in a .csv, .tsv or .parquet file")
    if is_special(path):
        raise InputError(f"{path}: cannot be read as a table of {what} ({SPECIAL})")
    try:
        return _read_parquet(path, unnamed) if path.suffix == ".parquet" else _read_text(path, unnamed)
    except (OSError, ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        gist = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: cannot be read as a table of {what} ({gist})") from error


def _read_parquet(path: Path, unnamed: str | None) -> pd.DataFrame:
    table = pd.read_parquet(path)
    if unnamed is None or table.index.dtype.kind in "iuf":
        return table
    return table.rename_axis([name or unnamed for name in table.index.names]).reset_index()


def _read_text(path: Path, unnamed: str | None) -> pd.DataFrame:
    """Read texts and numbers; a column without a name, as pandas writes for its row numbers, is left out."""
    separator = "\t" if path.suffix == ".tsv" else ","
    names = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0]
    table = pd.read_csv(path, sep=separator, index_col=False, low_memory=False)
    if len(names) != table.shape[1]:
        raise ValueError(f"{table.shape[1]} columns for {len(names)} names")
    # Two columns of one name would get other names.
    table.columns = pd.Index([name.strip() for name in names])
    if unnamed is not None and table.columns[0] == "" and not pd.api.types.is_numeric_dtype(table.dtypes.iloc[0]):
        table.columns = pd.Index([unnamed, *table.columns[1:]])
    return table.loc[:, [name != "" for name in table.columns]]
