"""Boxes: the plaid covering of geometric sketching, exactly as geosketch 1.3 finds it, without its quadratic steps.

Each dimension is cut into intervals of one length: an interval begins at the first point that lies further than that
length after the beginning of the one before. A box is a combination of intervals with points in it; the length is
bisected until there are about as many boxes as asked for (Hie et al. 2019, doi 10.1016/j.cels.2019.05.003).

What is quicker here: beginnings of a few intervals are found in as many passes over the points, those of many by binary
search in sorted values; boxes are distinguished by a 64-bit hash (two of a million boxes are confused with probability
3e-8); counting stops where there are too many. Axes in names: N points, D dimensions, I intervals.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from corpuscle.core.errors import CorpusError

# As in geosketch: the number of boxes may be off by this share, and bisection gives up after so many steps.
TOLERANCE = 0.1
MAX_STEPS = 200
NARROWEST = 1e-20
# Up to so many intervals a dimension, passes over all points are quicker than to sort their values, and need no memory.
FEW_INTERVALS = 16


class PlaidCover(NamedTuple):
    """A covering: each point's box (numbered from 0), and how many boxes there are."""

    box_N: NDArray[np.int32]
    n_boxes: int


def plaid_cover(points_ND: NDArray[np.floating], n_boxes: int) -> PlaidCover:
    """Cover points with about as many boxes as asked for.

    Parameters
    ----------
    points_ND
        The points, float32 or float64. The arithmetic is done in their type, as geosketch does it with numpy 2.
    n_boxes
        How many boxes to aim at. Where many points coincide, there may be fewer.

    Raises
    ------
    CorpusError
        When a coordinate is NaN or infinite.

    Examples
    --------
    >>> plaid_cover(np.array([[0.0], [0.1], [0.9], [1.0]]), 2).box_N.tolist()
    [0, 0, 1, 1]
    """
    low_D, range_D = _extent(points_ND)
    if range_D.max(initial=0) == 0:
        return PlaidCover(np.zeros(len(points_ND), np.int32), min(1, len(points_ND)))
    # geosketch shifts points to begin at 0 and divides them by the largest range; its lengths are on that scale.
    scale = range_D.max()
    range_D = range_D / scale
    most, fewest = n_boxes * (1 + TOLERANCE), n_boxes * (1 - TOLERANCE)
    low, high = points_ND.dtype.type(0), range_D.max()
    length = (low + high) / 4
    sorted_D: dict[int, NDArray[np.floating]] = {}
    for _ in range(MAX_STEPS):
        cut_D = np.flatnonzero(range_D > length)
        if range_D.max() <= FEW_INTERVALS * length:
            begins = _scanned_beginnings(points_ND, cut_D, low_D, scale, length)
        else:
            for d in set(cut_D.tolist()) - set(sorted_D):
                sorted_D[d] = np.sort(points_ND[:, d])
            begins = [_beginnings(sorted_D[d], low_D[d], scale, length) for d in cut_D.tolist()]
        grid = _grid(cut_D, begins, points_ND.dtype)
        count = _count(points_ND, grid, np.zeros(_n_slots(min(most, len(points_ND))), np.uint64), most)
        if count > most:
            low, length = length, (length + high) / 2
        elif count < fewest:
            high, length = length, (length + low) / 2
        else:
            break
        if high - low < NARROWEST:
            break
    n_slots = _n_slots(len(points_ND) if count > most else count)
    return PlaidCover(*_label(points_ND, grid, np.zeros(n_slots, np.uint64), np.empty(n_slots, np.int32)))


class _Grid(NamedTuple):
    """The dimensions that are cut, where their intervals begin, how many each has, and a code for each interval."""

    cut_C: NDArray[np.int64]
    begin_CI: NDArray[np.floating]
    n_C: NDArray[np.int64]
    code_CI: NDArray[np.uint64]


def _grid(cut_C: NDArray[np.int64], begins: list[NDArray[np.floating]], dtype: np.dtype[Any]) -> _Grid:
    n_C = np.array([len(begin) for begin in begins], np.int64)
    begin_CI = np.zeros((len(begins), n_C.max(initial=1)), dtype)
    for begin_I, beginnings in zip(begin_CI, begins, strict=True):
        begin_I[: len(beginnings)] = beginnings
    # A box's hash is the xor of its intervals' codes (tabulation hashing, Zobrist 1970): any fixed numbers serve.
    code_CI = np.random.default_rng(0).integers(0, 2**64, size=(len(begins), begin_CI.shape[1]), dtype=np.uint64)
    return _Grid(cut_C, begin_CI, n_C, code_CI)


def _extent(points_ND: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return each dimension's smallest value and its range."""
    if not points_ND.size:
        return np.zeros(points_ND.shape[1], points_ND.dtype), np.zeros(points_ND.shape[1], points_ND.dtype)
    low_D, high_D = points_ND.min(axis=0), points_ND.max(axis=0)
    # A NaN or an infinite value anywhere is the extreme of its dimension.
    if not np.isfinite(high_D - low_D).all():
        row, d = np.argwhere(~np.isfinite(points_ND))[0].tolist()
        raise CorpusError(
            f"geometric sketching needs finite coordinates, but cell {row:,} has {points_ND[row, d]} on component "
            f"{d + 1}; fix the embedding, or leave the cell out"
        )
    return low_D, high_D - low_D


def _n_slots(n_keys: float) -> int:
    """Return the size of a hash table that is at most half full; a power of two."""
    return 1 << (2 * int(n_keys) + 4).bit_length()


def _scanned_beginnings(
    points_ND: NDArray[np.floating], cut_D: NDArray[np.int64], low_D: NDArray[np.floating], scale: Any, length: Any
) -> list[NDArray[np.floating]]:
    """Find the values at which the intervals of all dimensions begin: the next of each in one pass over the points."""
    begin_D = np.full_like(low_D, np.inf)
    begin_D[cut_D] = low_D[cut_D]
    rounds = [begin_D]
    while True:
        # A dimension that is not cut, or has no further interval, is at infinity, and nothing lies beyond.
        next_D = _next_beginnings(points_ND, low_D, scale, (rounds[-1] - low_D) / scale + length)
        if not np.isfinite(next_D).any():
            return [column[np.isfinite(column)] for column in np.array(rounds).T[cut_D]]
        rounds.append(next_D)


@njit(cache=True, error_model="numpy")
def _next_beginnings(points_ND, low_D, scale, bound_D):  # type: ignore[no-untyped-def]  # compiled
    """Find the smallest value beyond each dimension's bound, which is on geosketch's scale; infinity where none is."""
    nearest_D = np.full_like(low_D, np.inf)
    for n in range(len(points_ND)):
        point_D = points_ND[n]
        for d in range(len(low_D)):
            beyond = point_D[d] if bound_D[d] < (point_D[d] - low_D[d]) / scale else nearest_D[d]
            nearest_D[d] = min(beyond, nearest_D[d])
    return nearest_D


@njit(cache=True)
def _beginnings(sorted_N, low, scale, length):  # type: ignore[no-untyped-def]  # compiled
    """Find the values at which the intervals of one dimension begin."""
    begins = [sorted_N[0]]
    at = 0
    while True:
        start = (sorted_N[at] - low) / scale
        left, right = at + 1, len(sorted_N)
        while left < right:
            middle = (left + right) // 2
            if start + length < (sorted_N[middle] - low) / scale:
                right = middle
            else:
                left = middle + 1
        if left == len(sorted_N):
            return np.array(begins)
        begins.append(sorted_N[left])
        at = left


@njit(cache=True)
def _hash(point_D, grid):  # type: ignore[no-untyped-def]  # compiled
    """Return a point's box as a hash; never 0, which marks an empty slot."""
    begin_CI, found = grid.begin_CI, np.uint64(0)
    for c in range(len(grid.cut_C)):
        value = point_D[grid.cut_C[c]]
        left, right = 0, grid.n_C[c]
        # The last interval that begins at or below the value.
        while right - left > 8:
            middle = (left + right) // 2
            if begin_CI[c, middle] <= value:
                left = middle
            else:
                right = middle
        while left + 1 < right and begin_CI[c, left + 1] <= value:
            left += 1
        found ^= grid.code_CI[c, left]
    return found if found else np.uint64(1)


@njit(cache=True)
def _count(points_ND, grid, slots, most):  # type: ignore[no-untyped-def]  # compiled
    """Count the boxes, up to one more than `most`."""
    count, mask = 0, np.uint64(len(slots) - 1)
    for point_D in points_ND:
        key = _hash(point_D, grid)
        slot = key & mask
        while slots[slot] != 0 and slots[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] == 0:
            slots[slot] = key
            count += 1
            if count > most:
                return count
    return count


@njit(cache=True)
def _label(points_ND, grid, slots, box_of_slot):  # type: ignore[no-untyped-def]  # compiled
    """Find each point's box, numbered in the order of their first points."""
    count, mask = 0, np.uint64(len(slots) - 1)
    box_N = np.empty(len(points_ND), np.int32)
    for at in range(len(points_ND)):
        key = _hash(points_ND[at], grid)
        slot = key & mask
        while slots[slot] != 0 and slots[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] == 0:
            slots[slot] = key
            box_of_slot[slot] = count
            count += 1
        box_N[at] = box_of_slot[slot]
    return box_N, count
