"""Growth: from how long something took on a few cells, how long it takes on more."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# Nothing that a study makes takes longer than with the square of the cells: what is slower, looks at a part of them.
STEEPEST = 2.0


class Size(NamedTuple):
    """How many cells something looks at: those of the training corpus, and those of a target or other cells."""

    train: int
    target: int = 0


class Timed(NamedTuple):
    """What something of a size took, in seconds."""

    size: Size
    seconds: float


def seconds_at(size: Size, seen: Sequence[Timed]) -> float:
    """Return how long something of a size takes.

    Training cells and target cells are each followed alone: by the last two sizes that differ in nothing else. What
    takes a while for any size and then so long for each cell lies on a line, and what compares cells with cells on a
    curve; the larger of the two counts. Where there is no such pair, time grows with the square root of the cells: half
    way between not at all and in proportion.

    Parameters
    ----------
    size
        Of how many cells.
    seen
        What was timed, from the smallest; at least one.

    Examples
    --------
    >>> line = [Timed(Size(0, n), 1 + n / 100) for n in (100, 200)]
    >>> round(seconds_at(Size(0, 2000), line), 1)
    21.0
    >>> square = [Timed(Size(0, n), (n / 100) ** 2) for n in (100, 200)]
    >>> round(seconds_at(Size(0, 2000), square), 1)
    400.0
    """
    last = seen[-1]
    more = sum(_growth(axis, size, seen) for axis in range(len(size)))
    # With fewer cells than were timed, too, it takes some time.
    return max(last.seconds + more, 0.0 if size >= last.size else min(one.seconds for one in seen))


def _growth(axis: int, size: Size, seen: Sequence[Timed]) -> float:
    """Return how many seconds more than the last that was timed it takes for its cells of one kind."""
    last = seen[-1]
    if size[axis] == last.size[axis]:
        return 0.0
    at, before = _pair(axis, seen)
    if before is None:
        ratio = size[axis] / last.size[axis] if last.size[axis] else 1.0
        return last.seconds * (math.sqrt(ratio) - 1)
    times = size[axis] / at.size[axis]
    slope = (at.seconds - before.seconds) / (at.size[axis] - before.size[axis])
    line = max(0.0, slope) * (size[axis] - last.size[axis])
    if times < 1 or min(at.seconds, before.seconds) <= 0:
        return line
    steepness = math.log(at.seconds / before.seconds) / math.log(at.size[axis] / before.size[axis])
    curve = last.seconds * (math.pow(times, min(max(steepness, 0.0), STEEPEST)) - 1)
    return max(line, curve)


def _pair(axis: int, seen: Sequence[Timed]) -> tuple[Timed, Timed | None]:
    """Return the last two that differ in this kind of cells alone; None: there are no two."""
    for place in range(len(seen) - 1, 0, -1):
        at, before = seen[place], seen[place - 1]
        others_same = all(at.size[other] == before.size[other] for other in range(len(at.size)) if other != axis)
        if others_same and at.size[axis] > before.size[axis] > 0:
            return at, before
    return seen[-1], None


def mean(values: Iterable[float]) -> float | None:
    """Return the mean; None of nothing."""
    found = [*values]
    return sum(found) / len(found) if found else None
