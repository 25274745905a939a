"""Tables as CSV, in which no text from data is a formula to a spreadsheet that opens it."""

import pandas as pd

from corpuscle.core.text import escaped

# A cell that begins with one of these is worked out by spreadsheets, and may run programs or send data.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(table: pd.DataFrame, *, exact: bool = False) -> str:
    r"""Return a table as CSV, without its index; texts that a spreadsheet would take for formulas begin with ``'``.

    Parameters
    ----------
    table
        What is written.
    exact
        Leave control characters in texts as they are, where what reads the file looks for the very texts. Otherwise
        they are escaped, as in what is printed.

    Examples
    --------
    >>> print(csv_text(pd.DataFrame({"corpus": ["=cmd()", "Blood"], "change": [-0.5, 0.5]})), end="")
    corpus,change
    '=cmd(),-0.5
    Blood,0.5
    """
    plain = table.copy(deep=False)
    for at, (_, column) in enumerate(table.items()):
        if not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column)):
            safe = column.astype(object).map(lambda value: _plain(value, exact=exact), na_action="ignore")
            plain.isetitem(at, safe)
    plain.columns = pd.Index([_plain(name, exact=exact) for name in table.columns])
    return str(plain.to_csv(index=False, lineterminator="\n"))


def _plain(value: object, *, exact: bool) -> object:
    if not isinstance(value, str):
        return value
    text = value if exact else escaped(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
