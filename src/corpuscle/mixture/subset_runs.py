"""Subset runs: which subsets of the sources were trained on, checked, and their scores.

Axes: R runs, S subsets, K sources, O outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from corpuscle.core.errors import InputError
from corpuscle.core.text import plural, shortened
from corpuscle.mixture.coalitions import fold_over, orders, subset_name
from corpuscle.mixture.surrogate import Array
from corpuscle.mixture.table import lower_outputs


@dataclass(frozen=True)
class SubsetRuns:
    """What was run, checked: distinct subsets, the runs of each, scores turned so that higher is better."""

    sources: tuple[str, ...]
    outputs: tuple[str, ...]
    subset_SK: NDArray[np.bool_]
    subset_R: NDArray[np.int64]
    seed_R: NDArray[np.int64]
    scores_RO: Array

    @property
    def is_all(self) -> bool:
        """Whether every subset of the sources was run."""
        return bool(len(self.subset_SK) == 2 ** len(self.sources))

    @classmethod
    def of(
        cls,
        members: pd.DataFrame,
        scores: pd.DataFrame | ArrayLike,
        seeds: ArrayLike | None,
        better: str | Mapping[str, str],
    ) -> "SubsetRuns":
        """Check tables, as `ledger` takes them."""
        frame = pd.DataFrame(scores)
        frame.columns = frame.columns.astype(str)
        if len(frame) != len(members):
            raise InputError(f"expected a row of scores for each row of members ({len(members)}); got {len(frame)}")
        member_RK = members.to_numpy()
        if not np.isin(member_RK, (0, 1)).all() or members.shape[1] < 2:
            raise InputError(
                "members: expected a column of True and False (or 1 and 0) for each of two sources or more"
            )
        try:
            scores_RO = frame.to_numpy(np.float64)
        except (TypeError, ValueError):
            raise InputError("scores: expected numbers, and NaN where a run failed") from None
        if np.isinf(scores_RO).any():
            raise InputError("scores: expected finite numbers; leave a run that diverged empty (NaN)")
        subset_SK, subset_R = np.unique(member_RK.astype(bool), axis=0, return_inverse=True)
        outputs = tuple(frame.columns)
        seed_R = np.arange(len(frame)) if seeds is None else pd.factorize(np.asarray(seeds))[0]
        sign_O = np.where(lower_outputs(better, outputs), -1.0, 1.0)
        return cls(tuple(map(str, members.columns)), outputs, subset_SK, subset_R.ravel(), seed_R, scores_RO * sign_O)

    @property
    def main_S(self) -> NDArray[np.bool_]:
        """Which subsets are of the two-level design: all, or the largest fold-over that was run."""
        if self.is_all:
            return np.ones(len(self.subset_SK), bool)
        k, rows = len(self.sources), [row_K.tobytes() for row_K in self.subset_SK]
        for order in reversed(orders(k)):
            design = {row_K.tobytes() for row_K in fold_over(k, order)}
            if design <= set(rows):
                return np.array([row in design for row in rows])
        # Two sources have no design but all four subsets.
        smallest = np.unique(fold_over(k, next(iter(orders(k)), 4)), axis=0)
        lacking = [subset_name(self.sources, row_K) for row_K in smallest if row_K.tobytes() not in rows]
        raise InputError(
            "members: expected all subsets of the sources, or those of corpuscle.mixture.coalitions; of its smallest "
            f"design, {plural(len(lacking), 'subset')} not run: {shortened('; '.join(lacking))}"
        )

    def notes(self) -> tuple[str, ...]:
        """Return what the reader must know."""
        missing_RO = np.isnan(self.scores_RO)
        if len(self.outputs) > 1 and (missing_RO == missing_RO[:, :1]).all():
            missing = [("score", missing_RO[:, 0])]
        else:
            missing = [*zip(self.outputs, missing_RO.T, strict=True)]
        found = [
            f"{int(missing_R.sum())} of {len(missing_R)} runs have no {output}: they count as missing"
            for output, missing_R in missing
            if missing_R.any()
        ]
        if not self.is_all:
            found.append(
                f"{len(self.subset_SK)} of {2 ** len(self.sources):,} subsets were run: a value may hold a part of the "
                "interactions of three sources"
            )
        return tuple(found)
