"""Reading: tables of weights and scores from files."""

from pathlib import Path

import pandas as pd

from corpuscle.core.errors import InputError
from corpuscle.core.paths import SPECIAL, is_special

SUFFIXES = (".csv", ".tsv", ".parquet")


def read_table(path: Path | str, what: str) -> pd.DataFrame:
    """Read a table of weights or scores.

    Parameters
    ----------
    path
        A .csv, .tsv or .parquet file with a row of names.
    what
        What it is a table of, for messages.

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
        return pd.read_parquet(path) if path.suffix == ".parquet" else _read_text(path)
    except (OSError, ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        gist = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: cannot be read as a table of {what} ({gist})") from error


def _read_text(path: Path) -> pd.DataFrame:
    """Read texts and numbers; a column without a name, as pandas writes for its row numbers, is left out."""
    separator = "\t" if path.suffix == ".tsv" else ","
    names = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0]
    table = pd.read_csv(path, sep=separator, index_col=False, low_memory=False)
    if len(names) != table.shape[1]:
        raise ValueError(f"{table.shape[1]} columns for {len(names)} names")
    # Two columns of one name would get other names.
    table.columns = pd.Index([name.strip() for name in names])
    return table.loc[:, [name != "" for name in table.columns]]
