"""Which kind of numbers stands where raw counts are needed: counts, counts with rounding error, estimates, normalised.

What is refused is answered with an example from the file and a way on that works: other places in the file are read
before they are advised.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.errors import SourceError
from corpuscle.core.text import shown
from corpuscle.source.reader import Reader
from corpuscle.source.source import Source

Kind = Literal["counts", "nearly whole", "estimated", "normalised", "log-normalised", "square roots", "fractions"]
Undo = Callable[[Any], Any]
# What rounding does not make counts.
TRANSFORMED: tuple[Kind, ...] = ("normalised", "log-normalised", "square roots")

# Counts are held as float32, which has all whole numbers up to here.
LARGEST_COUNT = 2**24
# A number this near a whole one, relative to its size, is one with rounding error: float32 through log1p and back is
# off by up to 2e-6.
ROUNDING = 1e-5
# Cells that are looked at to find out what a place holds.
SAMPLE = 256
# Counts that were scaled cell by cell are multiples of the cell's smallest; this near, and this share of them.
NEAR, MOST = 0.01, 0.95
# Of fewer cells, equal sums are no sign.
FEWEST = 20
# Of estimated counts (RSEM, alevin, SoupX) at least this share is whole; of scaled ones next to none.
WHOLE = 0.05
_UNDO: dict[Kind, tuple[Undo, ...]] = {
    "normalised": (lambda x: x,),
    "log-normalised": (np.expm1, lambda x: np.exp2(x) - 1, lambda x: 10.0**x - 1),
}
_WHAT: dict[Kind, str] = {
    "nearly whole": "whole numbers with rounding error",
    "estimated": "fractions among whole numbers, as estimated counts do (RSEM, salmon, alevin, SoupX)",
    "normalised": "fractions: in each cell, counts that were scaled (normalised)",
    "log-normalised": "fractions: in each cell, the logarithm of counts that were scaled (log-normalised)",
    "square roots": "the square roots of whole numbers",
    "fractions": "fractions and hardly a whole number: normalised or log-transformed values, or estimated counts",
}


def refuse_other_than_counts(source: Source, stored: csr_matrix, rows: NDArray[np.int64]) -> None:
    """Refuse what is not raw counts; of a source that rounds, what rounding does not make counts.

    Parameters
    ----------
    source
        The source.
    stored
        Some cells as they are stored: cells × genes.
    rows
        Their row numbers in the file.

    Raises
    ------
    SourceError
        With an example, and what to do.
    """
    data = stored.data
    finite = np.isfinite(data)
    tests = (
        (finite, "NaN or infinite values"),
        ((data >= 0) | ~finite, "negative values"),
        (data < LARGEST_COUNT, "numbers too large for counts"),
    )
    for good, what in tests:
        if not good.all():
            raise _refused(source, rows, what, _example(source, stored, rows, good))
    kind = count_kind(stored)
    if kind == "counts" or (source.reader.opened.rounds and kind not in TRANSFORMED):
        return
    good = data == np.rint(data) if kind == "nearly whole" else _is_whole(data)
    raise _refused(source, rows, _WHAT[kind], _example(source, stored, rows, good), kind)


def count_kind(counts: csr_matrix) -> Kind:
    """Return which kind of numbers some cells hold; they are finite and not negative.

    Examples
    --------
    >>> profile = np.random.default_rng(0).poisson(3.0, (4, 50)).astype(np.float32)
    >>> count_kind(csr_matrix(profile)), count_kind(csr_matrix(np.log1p(profile * [[0.7], [0.9], [1.1], [1.3]])))
    ('counts', 'log-normalised')
    """
    data = counts.data
    if data.dtype.kind != "f" or np.array_equal(data, np.rint(data)):
        return "counts"
    whole = _is_whole(data)
    if whole.all():
        return "nearly whole"
    with np.errstate(over="ignore"):
        if _is_whole(data.astype(np.float64) ** 2).all():
            return "square roots"
    share = float(np.mean(whole[data > 0]))
    for kind, functions in _UNDO.items():
        if share < 0.2 and any(_is_scaled(counts, undo) for undo in functions):
            return kind
    return "estimated" if share >= WHOLE else "fractions"


def undone_by(counts: csr_matrix, kind: Kind) -> Undo | None:
    """Return what makes scaled counts of values: multiples, in each cell, of a factor; None where nothing does.

    Parameters
    ----------
    counts
        Values of some cells, finite and not negative.
    kind
        Their kind; see `count_kind`.

    Examples
    --------
    >>> logs = csr_matrix(np.log2(1 + np.arange(1, 51) * [[0.7], [0.9]]))
    >>> float(undone_by(logs, "log-normalised")(1.0))
    1.0
    """
    return next((undo for undo in _UNDO.get(kind, ()) if _is_scaled(counts, undo)), None)


def unlike_counts(survey: pd.DataFrame) -> str:
    """Return why whole numbers are likely no raw counts, for people; empty where nothing shows it.

    Parameters
    ----------
    survey
        One row per cell; see `corpuscle.source.quality.survey`.

    Examples
    --------
    >>> unlike_counts(pd.DataFrame({"n_counts": [10000, 9998, 10003] * 20, "n_genes": [700, 650, 720] * 20}))
    'its cells have about equally many counts (9,998 to 10,003), as after normalising and rounding; ...'
    """
    found = survey.loc[survey["n_counts"] > 0, ["n_counts", "n_genes"]]
    if len(found) < FEWEST:
        return ""
    least, most = int(found["n_counts"].min()), int(found["n_counts"].max())
    if bool((found["n_counts"] == found["n_genes"]).all()):
        return "all of its counts are 1: they say which genes were detected, not how often; give raw counts"
    if most <= 1.01 * least:
        return (
            f"its cells have about equally many counts ({least:,} to {most:,}), as after normalising and rounding; "
            "give raw counts, unless the cells were down-sampled to one depth"
        )
    return ""


def _is_whole(data: NDArray[Any]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.abs(data - np.rint(data)) <= ROUNDING * np.maximum(1, np.abs(data))
    return found


def _is_scaled(counts: csr_matrix, undo: Undo) -> bool:
    """Return whether a function makes cells of equal sums of these numbers, or multiples of each cell's smallest."""
    # Powers of what is no logarithm leave the numbers that there are, and those of next to nothing are nothing.
    with np.errstate(over="ignore"):
        undone = [undo(values.astype(np.float64)) for values in _cells(counts)]
        cells = [values[values > 0] for values in undone if values.any()]
        if not all(np.isfinite(values.sum()) for values in cells):
            return False
    sums = np.array([values.sum() for values in cells])
    if len(sums) > 1 and sums.max() <= 1.01 * sums.min():
        return True
    with np.errstate(over="ignore"):
        ratios = [values / values.min() for values in cells]
    ratio = np.concatenate([values[values > 1 + NEAR] for values in ratios] or [np.empty(0)])
    # Of large ratios, rounding error and chance leave nothing to see.
    ratio = ratio[ratio < 1000]
    return len(ratio) >= 20 and float(np.mean(np.abs(ratio - np.rint(ratio)) <= NEAR)) >= MOST


def _cells(counts: csr_matrix) -> list[NDArray[Any]]:
    ends = counts.indptr[: SAMPLE + 1]
    return np.split(counts.data[: ends[-1]], ends[1:-1])


def _example(source: Source, stored: csr_matrix, rows: NDArray[np.int64], good: NDArray[np.bool_]) -> str:
    """Write the first number that is not good, where it stands, and how many are not."""
    at = int(np.argmin(good))
    row = rows[np.searchsorted(stored.indptr, at, side="right") - 1]
    where = f"row {row}, gene {shown(source.genes.index[stored.indices[at]], 80)}"
    return f"{_digits(stored.data[at])} in {where}; {np.mean(~good):.1%} of the stored values read so far"


def _refused(source: Source, rows: NDArray[np.int64], what: str, example: str, kind: Kind | None = None) -> SourceError:
    place, way_on = source.reader.counts, _way_on(source, rows, kind)
    return SourceError(f"source {source.name!r}: raw counts are needed, but {place} holds {what} ({example}); {way_on}")


def _digits(value: Any) -> str:
    """Write a number with as many digits as distinguish it from its neighbours."""
    if not np.isfinite(value) or value.dtype.kind != "f":
        return str(value)
    return np.format_float_positional(value, trim="-") if 1e-4 < abs(value) < 1e9 else str(value)


def _way_on(source: Source, rows: NDArray[np.int64], kind: Kind | None) -> str:
    reader = source.reader
    holding = [reader.place(place) for place in places_of_counts(reader.reader, rows)]
    hints = [f"say where the raw counts are: {' or '.join(holding)}"] if holding else []
    if kind in ("nearly whole", "estimated", "fractions"):
        rounding = reader.place(reader.counts, rounded=True)
        hints.append(
            f"round them: {rounding}" if kind != "fractions" else f"if they are estimates, round them: {rounding}"
        )
    if not hints:
        tried = source.reader.reader.alternatives()
        nowhere = f" (nor are there any at {', '.join(tried[:20])})" if len(tried) > 1 else ""
        hints.append(f"give raw counts{nowhere}")
    return "; or ".join(hints)


def places_of_counts(reader: Reader, rows: NDArray[np.int64]) -> list[str]:
    """List the other places in a file that hold whole numbers, as far as some cells show.

    Parameters
    ----------
    reader
        Reads the file, from a place that holds none.
    rows
        Rows of the file; the first are looked at.
    """
    found = []
    for place in reader.alternatives():
        if place == reader.counts:
            continue
        try:
            counts = reader.elsewhere(place).read_counts(rows[:SAMPLE])
        except SourceError:
            continue
        data = counts.data
        if data.any() and np.all(data >= 0) and np.all(data == np.rint(data)):
            found.append(place)
    return found
