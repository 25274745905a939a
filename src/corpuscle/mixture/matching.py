"""Matching: which row of weights belongs to which row of scores, and which columns say so."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from corpuscle.core.errors import InputError
from corpuscle.core.text import plural, shortened

# Columns that say which run a row is of, whatever is in them.
KEYS = ("run", "name", "index", "mixture", "id")


def matched(weights: pd.DataFrame | ArrayLike, scores: pd.DataFrame | ArrayLike) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bring rows of weights into the order of the scores, and drop the columns that said which is which.

    By the columns that both tables have, such as ``run``; else by the names of their rows, where both have such; else
    by order. A column of numbers with fractions says nothing of runs: it is a source in the one table and an output of
    the same name in the other. So is one of whole numbers that differ in rows which another column matches.

    Parameters
    ----------
    weights
        Runs × sources.
    scores
        Runs × outputs; a row of weights may have several.

    Raises
    ------
    InputError
        When rows do not match, or two columns have one name.

    Examples
    --------
    >>> weights = pd.DataFrame({"run": ["a", "b"], "blood": [0.2, 0.7], "lung": [0.8, 0.3]})
    >>> scores = pd.DataFrame({"run": ["b", "a"], "blood": [1.5, 2.5]})
    >>> for table in matched(weights, scores):
    ...     print(table.to_dict("list"))
    {'blood': [0.7, 0.2], 'lung': [0.3, 0.8]}
    {'blood': [1.5, 2.5]}
    """
    weights_frame, scores_frame = framed(weights, "source"), framed(scores, "output")
    both = [name for name in weights_frame.columns if name in set(scores_frame.columns)]
    keys = [name for name in both if _may_name_runs(name, weights_frame[name], scores_frame[name])]
    if keys:
        return _by_columns(weights_frame, scores_frame, keys)
    return _by_index(weights_frame, scores_frame)


def framed(values: pd.DataFrame | ArrayLike, what: str) -> pd.DataFrame:
    """Return a table with columns that are texts, none twice; ``what`` they are: ``source`` or ``output``.

    Raises
    ------
    InputError
        When it is no table, or two of its columns have one name.
    """
    if isinstance(values, pd.Series) and what == "output":
        values = values.to_frame(f"{what} 1" if values.name is None else values.name)
    if isinstance(values, pd.DataFrame):
        frame = values.rename(columns=str)
    else:
        array = as_array(values, f"{what}s")
        array = array[:, None] if array.ndim == 1 and what == "output" else array
        if array.ndim != 2:
            raise InputError(f"{what}s: expected a table of runs × {what}s; got an array of shape {array.shape}")
        frame = pd.DataFrame(array, columns=[f"{what} {at + 1}" for at in range(array.shape[1])])
    if (twice := frame.columns.duplicated()).any():
        raise InputError(f"{what}s: there are two columns {frame.columns[twice][0]!r}; remove one of them")
    if not frame.shape[1]:
        raise InputError(f"{what}s: expected one column or more; got none")
    return frame


def as_array(values: ArrayLike, what: str) -> np.ndarray:
    """Return an array.

    Raises
    ------
    InputError
        When rows have different lengths.
    """
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(f"{what}: expected rows of one length; got {shortened(repr(values))}") from error


def _may_name_runs(name: str, weights: "pd.Series[object]", scores: "pd.Series[object]") -> bool:
    return name.casefold() in KEYS or (_is_text_or_whole(weights) and _is_text_or_whole(scores))


def _is_text_or_whole(column: "pd.Series[object]") -> bool:
    """Return whether a column has texts, or whole numbers alone."""
    known = column.dropna()
    numbers = pd.to_numeric(known, errors="coerce")
    return bool(numbers.isna().any() or (len(numbers) and (numbers % 1 == 0).all()))


def _by_index(weights: pd.DataFrame, scores: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Match rows by names, where both tables have names of rows, or one has the other's numbers; else by order."""
    one, other = weights.index, scores.index
    named, differ = not any(isinstance(index, pd.RangeIndex) for index in (one, other)), not one.equals(other)
    known, wanted = set(one), set(other)
    if differ and one.is_unique and ((named and wanted <= known) or (other.is_unique and wanted == known)):
        return weights.reindex(other), scores
    if named and differ:
        lost = [*(name for name in other if name not in known), *one[one.duplicated()]]
        raise InputError(
            f"the rows of both tables have names (their index), which differ, as {shortened(repr(lost[0]), 60)}; "
            "expected each row of scores to have the name of one row of weights; reset_index(drop=True) takes them by "
            "order"
        )
    if len(weights) != len(scores):
        raise InputError(
            f"expected a row of weights for each row of scores, or a column in both that names the runs; got "
            f"{len(weights):,} rows of weights and {len(scores):,} of scores"
        )
    return weights, scores


def _by_columns(
    weights: pd.DataFrame, scores: pd.DataFrame, shared: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Match rows by the first of the shared columns that names every mixture, or else by all of them together."""
    single = [[name] for name in shared if weights[name].is_unique and weights[name].notna().all()]
    keys = next((key for key in single if scores[key[0]].isin(weights[key[0]]).all()), list(shared))
    is_plain = all(name.casefold() in KEYS or not pd.api.types.is_numeric_dtype(weights[name]) for name in keys)
    clash = "; if it is a source here and an output there, rename one, and name the runs in a column run"
    clash = "" if is_plain else clash
    if weights.duplicated(keys).any():
        raise InputError(
            f"the tables share the columns {', '.join(shared)}, which have the same values in two rows of weights; "
            f"expected one that names each mixture, such as run{clash}"
        )
    places = weights.reset_index(drop=True).reset_index(names="__row__").set_index(keys)["__row__"]
    wanted = pd.MultiIndex.from_frame(scores[keys]) if len(keys) > 1 else pd.Index(scores[keys[0]])
    rows = places.reindex(wanted).to_numpy(float)
    if (lost_R := np.isnan(rows)).any():
        lost = scores[keys].iloc[int(np.flatnonzero(lost_R)[0])].tolist()
        raise InputError(
            f"{int(lost_R.sum()):,} of {plural(len(rows), 'row')} of scores have no row of weights with the same "
            f"{', '.join(keys)}; the first is {shortened(str(lost))}{clash}"
        )
    taken, scores = weights.iloc[rows.astype(int)].reset_index(drop=True), scores.reset_index(drop=True)
    dropped = [name for name in shared if name in keys or _says_the_same(name, taken[name], scores[name])]
    return taken.drop(columns=dropped), scores.drop(columns=dropped)


def _says_the_same(name: str, weights: "pd.Series[object]", scores: "pd.Series[object]") -> bool:
    """Return whether a column that both tables have is about the runs, as the one that matched them is."""
    numbers = [pd.to_numeric(one, errors="coerce").astype(float) for one in (weights, scores)]
    is_text = any(
        bool((found.isna() & one.notna()).any()) for found, one in zip(numbers, (weights, scores), strict=True)
    )
    return name.casefold() in KEYS or is_text or bool(numbers[0].equals(numbers[1]))
