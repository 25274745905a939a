"""Score: one row of the results table, the contract between making (tasks) and reading (statistics, reports)."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import pandas as pd

Better = Literal["higher", "lower", "zero", "none"]


class Score(NamedTuple):
    """What one task found about one unit.

    Attributes
    ----------
    metric
        Name of the metric, such as ``"r2_log"``.
    unit
        What was measured: ``"all"`` for all cells, else ``"kind=value"``, such as ``"donor=human4"`` or
        ``"gene=LYZ"``. Never a pre-average: statistics resample these rows.
    value
        The value; NaN when it is not defined, with the cause in `reason`.
    n_cells
        How many cells the value rests on.
    better
        Which way is better: ``"higher"``, ``"lower"``, ``"zero"`` (the nearer to zero) or ``"none"``.
    version
        Version of the metric's definition; a corrected metric gets a new one, and both stay.
    reason
        Why the value is NaN, or which cells it leaves out; else empty.
    """

    metric: str
    unit: str
    value: float
    n_cells: int
    better: Better
    version: int = 1
    reason: str = ""


# What places a score in a study, before the fields of the score itself.
CONTEXT = ("corpus", "model", "seed", "task", "target")
COLUMNS = (*CONTEXT, *Score._fields)

DTYPES = {
    "corpus": "string", "model": "string", "seed": "int64", "task": "string", "target": "string",
    "metric": "string", "unit": "string", "value": "float64", "n_cells": "int64", "better": "string",
    "version": "int64", "reason": "string",
}  # fmt: skip
# Few texts in very many rows: read as a dictionary, each is in memory once.
TEXTS = [name for name, dtype in DTYPES.items() if dtype == "string"]


def score_table(scores: Iterable[Score], **context: str | int) -> pd.DataFrame:
    """Lay scores out as a table with the columns `COLUMNS`.

    Examples
    --------
    >>> score = Score("r2_log", "all", 0.5, n_cells=10, better="higher")
    >>> table = score_table([score], corpus="Blood", model="ldvae", seed=0, task="reconstruction", target="blood")
    >>> table[["corpus", "target", "metric", "value"]].to_dict("records")
    [{'corpus': 'Blood', 'target': 'blood', 'metric': 'r2_log', 'value': 0.5}]
    """
    rows = [{**context, **score._asdict()} for score in scores]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(DTYPES)
