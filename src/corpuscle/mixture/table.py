"""Table: the mixtures that were run and their scores, checked, in one order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from corpuscle.core.errors import InputError
from corpuscle.core.text import plural, shortened
from corpuscle.mixture.matching import matched
from corpuscle.mixture.surrogate import Array

# Published weights are rounded to three digits: 24 of them can miss 1 by 0.012.
NEAR_ONE = 0.02
# Weights that agree to so much are one mixture, run again.
SAME_WEIGHTS = 1e-6
# With fewer distinct mixtures nothing can be learnt and left out at the same time.
FEWEST_MIXTURES = 5
# Numbers beyond which squares of differences leave the numbers that a computer has.
LARGEST = 1e100


@dataclass(frozen=True)
class Table:
    """Mixtures and scores.

    Attributes
    ----------
    sources, outputs
        Names of the columns of weights and of scores.
    weights_RK
        A mixture a run: from 0 to 1, rows sum to 1.
    scores_RO
        Scores in their own unit; NaN where a run has none.
    lower_O
        Whether lower is better, for each output.
    mixture_R
        Which distinct mixture each run is of, numbered from 0 in the order of their first run.
    notes
        What was done to the tables, a sentence each.
    """

    sources: tuple[str, ...]
    outputs: tuple[str, ...]
    weights_RK: Array
    scores_RO: Array
    lower_O: NDArray[np.bool_]
    mixture_R: NDArray[np.int64]
    notes: tuple[str, ...] = ()

    @property
    def n_mixtures(self) -> int:
        """Number of distinct mixtures."""
        return int(self.mixture_R.max()) + 1

    @property
    def mixtures_MK(self) -> Array:
        """The distinct mixtures."""
        return np.asarray(self.weights_RK[np.unique(self.mixture_R, return_index=True)[1]])

    @property
    def used_K(self) -> NDArray[np.bool_]:
        """Which sources some run has: of others nothing is known."""
        return np.asarray(self.weights_RK.max(axis=0, initial=0) > SAME_WEIGHTS)

    def means_MO(self, values_RO: Array) -> Array:
        """Return means over the runs of each distinct mixture; NaN where none has a value."""
        known_RO = np.isfinite(values_RO)
        sums_MO, counts_MO = (np.zeros((self.n_mixtures, values_RO.shape[1])) for _ in range(2))
        np.add.at(sums_MO, self.mixture_R, np.where(known_RO, values_RO, 0))
        np.add.at(counts_MO, self.mixture_R, known_RO)
        return np.where(counts_MO > 0, sums_MO / np.maximum(counts_MO, 1), np.nan)


def laid_out(
    weights: pd.DataFrame | ArrayLike,
    scores: pd.DataFrame | ArrayLike,
    better: str | Mapping[str, str] = "lower",
    *,
    normalise: bool = False,
) -> Table:
    """Check tables of mixtures and scores, and bring them into one order.

    Parameters
    ----------
    weights
        Runs × sources. Rows sum to 1, to within what rounding leaves, or all to 100.
    scores
        Runs × outputs, numbers; NaN where a score is missing. Rows are matched as `matched` says; each mixture may
        have several rows of scores.
    better
        ``"lower"`` or ``"higher"``, for all outputs or by output.
    normalise
        Divide each row of weights by its sum, whatever it is: for amounts, such as numbers of cells.

    Raises
    ------
    InputError
        When the tables do not match, or hold what they cannot.

    Examples
    --------
    >>> weights = pd.DataFrame({"blood": [0, 25, 50, 75, 100], "lung": [100, 75, 50, 25, 0]})
    >>> table = laid_out(weights, pd.DataFrame({"loss": [1.0, 0.8, 0.7, 0.65, np.nan]}))
    >>> table.weights_RK[1].tolist(), table.notes
    ([0.25, 0.75], ('weights are percentages: divided by 100', '1 of 5 scores of loss is missing'))
    """
    weights_frame, scores_frame = matched(weights, scores)
    weights_RK, notes = checked_weights(weights_frame, normalise=normalise)
    scores_RO = _checked_scores(scores_frame)
    outputs = tuple(scores_frame.columns)
    missing_O = np.asarray(np.isnan(scores_RO).sum(axis=0))
    for name, n_missing in zip(outputs, missing_O, strict=True):
        if n_missing:
            verb = "is" if n_missing == 1 else "are"
            notes.append(f"{n_missing:,} of {plural(len(scores_RO), 'score')} of {name} {verb} missing")
    _, first, mixture_R = np.unique(np.round(weights_RK / SAME_WEIGHTS), axis=0, return_index=True, return_inverse=True)
    # Numbered in the order of the table, so that two tables that begin alike are numbered alike.
    mixture_R = np.argsort(np.argsort(first))[mixture_R.ravel()]
    if (n_mixtures := len(first)) < FEWEST_MIXTURES:
        raise InputError(
            f"expected at least {FEWEST_MIXTURES} different mixtures, to learn from some and test on others; got "
            f"{n_mixtures}, in {plural(len(weights_RK), 'run')}"
        )
    sources = tuple(weights_frame.columns)
    table = Table(sources, outputs, weights_RK, scores_RO, lower_outputs(better, outputs), mixture_R, tuple(notes))
    unused = [name for name, used in zip(sources, table.used_K, strict=True) if not used]
    if not unused:
        return table
    said = (
        f"no mixture has any of {shortened(', '.join(unused))}: nothing is known of what it would do, no advice has it"
    )
    return replace(table, notes=(*notes, said))


def checked_weights(frame: pd.DataFrame, *, normalise: bool = False) -> tuple[Array, list[str]]:
    """Return weights as shares of 1, shape (rows, sources), and what was done to them.

    Raises
    ------
    InputError
        When there are fewer than two sources, or a row is no mixture.
    """
    if frame.shape[1] < 2:
        raise InputError(f"weights: expected two sources or more, one a column; got {frame.shape[1]}")
    values = _numbers(frame, "weights")
    wrong = ~np.isfinite(values) | (values < -SAME_WEIGHTS) | (values > LARGEST)
    if wrong.any():
        row, column = (int(at[0]) for at in np.nonzero(wrong))
        raise InputError(
            f"weights, row {row + 1}: {frame.columns[column]} is {values[row, column]}; expected a number from 0 on"
        )
    values = np.maximum(values, 0.0)
    sums = values.sum(axis=1)
    whole = 1.0
    if normalise:
        bad, expected = sums <= 0, "a sum above 0"
    else:
        # A row of 1 % in all is no percentage: it is all rows or none.
        whole = 100.0 if len(sums) and np.median(sums) > 50 else 1.0
        bad = np.abs(sums / whole - 1) > NEAR_ONE
        expected = (
            "1 (or 100 in every row); leave columns that are no sources out, or give amounts with normalise "
            "(--normalise)"
        )
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        columns = shortened(", ".join(frame.columns))
        raise InputError(f"weights, row {row + 1}: the sources ({columns}) sum to {sums[row]:.6g}; expected {expected}")
    notes = []
    if normalise and np.abs(sums - 1).max(initial=0) > NEAR_ONE:
        notes.append("weights are amounts: divided by the sum of each row")
    elif whole > 1:
        notes.append("weights are percentages: divided by 100")
    elif np.abs(sums - 1).max(initial=0) > SAME_WEIGHTS:
        notes.append(f"weights sum to {sums.min():.4g} to {sums.max():.4g}: divided by their sums")
    return np.asarray(values / sums[:, None]), notes


def _numbers(frame: pd.DataFrame, what: str) -> Array:
    """Return a table as numbers."""
    columns = []
    for name, column in frame.items():
        if column.dtype.kind in "mMc":
            raise InputError(f"{what}: {name} holds {column.dtype}; expected numbers")
        found = pd.to_numeric(column, errors="coerce")
        lost = found.isna() & column.notna()
        if lost.any():
            row = int(np.flatnonzero(lost.to_numpy())[0])
            raise InputError(
                f"{what}, row {row + 1}: {name} is {shortened(repr(column.iloc[row]), 60)}; expected a number (leave "
                "columns that hold something else out, or in both tables where they name the runs)"
            )
        columns.append(found.to_numpy(float, na_value=np.nan))
    return np.column_stack(columns) if columns else np.empty((len(frame), 0))


def _checked_scores(frame: pd.DataFrame) -> Array:
    """Return scores as numbers."""
    if not frame.shape[1]:
        raise InputError("scores: expected a column of scores besides those that name the runs; there is none")
    values = _numbers(frame, "scores")
    wrong = np.isinf(values) | (np.abs(np.nan_to_num(values)) > LARGEST)
    if wrong.any():
        row, column = (int(at[0]) for at in np.nonzero(wrong))
        raise InputError(
            f"scores, row {row + 1}: {frame.columns[column]} is {values[row, column]}; expected a number, or nothing "
            "where a run diverged"
        )
    return values


def lower_outputs(better: str | Mapping[str, str], outputs: Sequence[str]) -> NDArray[np.bool_]:
    """Return for each output whether lower is better."""
    if not isinstance(better, str | Mapping):
        raise InputError(f"better: expected lower or higher, or one of them by output; got {shortened(repr(better))}")
    ways = dict.fromkeys(outputs, better) if isinstance(better, str) else {**better}
    unknown = [name for name in ways if name not in outputs]
    if unknown:
        raise InputError(f"better: there is no output {unknown[0]!r}; there are {shortened(', '.join(outputs))}")
    lacking = [name for name in outputs if name not in ways]
    if lacking:
        raise InputError(f"better: expected lower or higher for every output; nothing is said of {lacking[0]!r}")
    for name, way in ways.items():
        if way not in ("lower", "higher"):
            raise InputError(f"better: expected lower or higher for {name!r}; got {shortened(repr(way))}")
    return np.array([ways[name] == "lower" for name in outputs])
