"""A published claim next to what runs of ours say about it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

Verdict = Literal["pattern seen", "not seen", "undecided", "artefact", "no verdict"]
# A difference of accuracy, F1 or a correlation that is too small to call a gain.
MARGIN = 0.02
# By which factor all intervals are wider than Student's; see `wider`.
_WIDER = ContextVar("wider", default=1.0)


@contextmanager
def wider(factor: float) -> Iterator[None]:
    """Make all intervals wider by a factor while the block lasts, to see which verdicts would not stand then."""
    token = _WIDER.set(factor)
    try:
        yield
    finally:
        _WIDER.reset(token)


def half_width(error: float, df: int) -> float:
    """Return half of a 95 % interval (Student's t) of something with a standard error."""
    return float(stats.t.ppf(0.975, df) * error * _WIDER.get())


@dataclass(frozen=True)
class Estimate:
    """A mean over replicates with its 95 % interval (Student's t over replicates; NaN ends with fewer than two)."""

    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: "pd.Series[float] | np.ndarray") -> "Estimate":
        """Return the mean of one value for each replicate; missing ones are left out."""
        known = np.asarray(values, dtype=float)
        known = known[np.isfinite(known)]
        if known.size < 2:
            return cls(float(known.mean()) if known.size else np.nan, np.nan, np.nan, int(known.size))
        half = half_width(known.std(ddof=1) / np.sqrt(known.size), known.size - 1)
        return cls(float(known.mean()), float(known.mean() - half), float(known.mean() + half), int(known.size))

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval is above 0."""
        return bool(self.low > 0)

    @property
    def below_zero(self) -> bool:
        """Whether the whole interval is below 0."""
        return bool(self.high < 0)

    def __str__(self) -> str:
        ends = f"[{self.low:.3f}, {self.high:.3f}]" if np.isfinite(self.low) else "no interval"
        return f"{self.mean:.3f} {ends}, n = {self.n}"


@dataclass(frozen=True)
class Claim:
    """What was published, what was measured here, and whether the pattern is there.

    Attributes
    ----------
    name
        A few words, unique within the study.
    published
        The published statement in one sentence, with its figure where there is one.
    measured
        What `estimate` is: which difference, of which metric, on which cells, over which replicates.
    estimate
        The measured difference, or value.
    verdict
        Decided by a rule of this module, which the study's page states: ``"pattern seen"``, ``"not seen"`` (it is ruled
        out), ``"artefact"`` (see `unless_confounded`), ``"undecided"`` (the interval holds both the pattern and its
        absence), or ``"no verdict"``: nothing was published of what is asked here, or what it was compared with is not
        run.
    because
        One sentence: what the verdict rests on, and what differs from the publication.
    """

    name: str
    published: str
    measured: str
    estimate: Estimate
    verdict: Verdict
    because: str


def above(found: Estimate, at: float = 0.0) -> Verdict:
    """Return the verdict on a pattern that is a value above `at`: not seen where one by `MARGIN` is ruled out."""
    return _verdict(seen=found.low > at, ruled_out=found.high < at + MARGIN)


def below(found: Estimate, at: float = 0.0) -> Verdict:
    """Return the verdict on a pattern that is a value below `at`: not seen where one by `MARGIN` is ruled out."""
    return _verdict(seen=found.high < at, ruled_out=found.low > at - MARGIN)


def no_gain(found: Estimate) -> Verdict:
    """Return the verdict on a published absence of a gain: seen where `MARGIN` is ruled out, not where there is one."""
    return _verdict(seen=found.high < MARGIN, ruled_out=found.low > 0)


def no_loss(found: Estimate) -> Verdict:
    """Return the verdict on a published absence of a loss: see `no_gain`."""
    return _verdict(seen=found.low > -MARGIN, ruled_out=found.high < 0)


def _verdict(*, seen: bool, ruled_out: bool) -> Verdict:
    if seen:
        return "pattern seen"
    return "not seen" if ruled_out else "undecided"


def unless_confounded(published: Verdict, *, still: bool, removed: bool) -> Verdict:
    """Return the verdict on a pattern that goes along with something else, such as more steps.

    Parameters
    ----------
    published
        The verdict on it as it was measured in the publication.
    still
        Whether it is seen with that something held equal.
    removed
        Whether that something is shown to make it: the difference between the two, paired by replicate, is beyond
        zero. That the second is not shown does not show that it is smaller than the first: it is undecided then.
    """
    if published != "pattern seen" or still:
        return published
    return "artefact" if removed else "undecided"


def values(scores: pd.DataFrame, **where: str) -> "pd.Series[float]":
    """Return one value for each seed of the rows with these columns, such as ``corpus="Blood", metric="r2_log"``.

    Of all cells (``unit="all"``) unless `where` names a unit. The index is the seed.

    Raises
    ------
    ValueError
        When no row is left, or a seed has several, as a column that tells them apart is missing from `where`.
    """
    rows = scores
    for column, value in {"unit": "all", **where}.items():
        rows = rows[rows[column] == value]
    if rows.empty:
        raise ValueError(f"no score has {where}")
    if rows["seed"].duplicated().any():
        differ = [name for name in ("corpus", "model", "task", "target", "metric", "way") if rows[name].nunique() > 1]
        raise ValueError(f"several scores of one seed have {where}; they differ in {', '.join(differ)}")
    return rows.set_index("seed")["value"]


def difference(scores: pd.DataFrame, first: Mapping[str, str], second: Mapping[str, str], **both: str) -> Estimate:
    """Return the mean of first minus second, paired by seed; both chosen as by `values`."""
    return Estimate.of((values(scores, **both, **first) - values(scores, **both, **second)).dropna())
