"""Pseudobulk: replace cells, all or all but some, by profiles, each the counts of a group of cells added up."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_matrix

from corpuscle.core.components import component
from corpuscle.core.errors import CorpusError
from corpuscle.corpus.alteration import Alteration, Altered, label_or_refuse, times_used, with_uses
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.derived import Derived, sums, with_made
from corpuscle.source.count_kinds import LARGEST_COUNT
from corpuscle.source.source import ROLES


@component
class Pseudobulk(Alteration):
    """Replace a corpus' cells by profiles of about k cells of one label (and one donor), of one source.

    Cells are put into groups at random, each into one; what is left over of a label, fewer cells than the next group
    would have, is in no profile and is counted, as are cells without the label. Sum, mean by k and mean by exact size
    differ by a factor per profile: rank encodings see no difference, count models do. A profile has those labels on
    which all its cells agree.

    Parameters
    ----------
    k
        How many cells a profile has, on average.
    size_sd
        Standard deviation of the profiles' sizes, which are normal around k, rounded, and at least 1.
    how
        ``"sum"``: counts, whole numbers. ``"mean_k"``: sums over k. ``"mean_size"``: sums over the exact size. Means
        are no whole numbers.
    by
        The label within which cells are grouped.
    within_donor
        Whether a profile's cells are of one donor, too.
    keep
        How many cells of each label (of a donor, of a source), at random, stay cells and are in no profile, to train on
        single cells and bulk together.
    small
        What to do where a label (of a donor, of a source) has fewer cells than k and those to keep: ``"refuse"``, or
        ``"leave_out"``, which counts them and keeps what there is.

    Examples
    --------
    >>> str(Pseudobulk(k=10))
    'pseudobulk (k = 10, size_sd = 0.0, how = sum, by = cell_type, within_donor = False, keep = 0, small = refuse)'
    """

    k: Annotated[int, Field(ge=2)]
    size_sd: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    how: Literal["sum", "mean_k", "mean_size"] = "sum"
    by: str = "cell_type"
    within_donor: bool = False
    keep: Annotated[int, Field(ge=0)] = 0
    small: Literal["refuse", "leave_out"] = "refuse"

    def apply(self, corpus: Corpus, rng: np.random.Generator, context: Context) -> Altered:
        """Put cells into groups; see `Alteration.apply`."""
        if self.how == "sum" and not corpus.is_whole:
            raise CorpusError("pseudobulk: a step before made cells whose counts are no whole numbers; take a mean")
        cell_U = np.repeat(np.arange(len(corpus)), times_used(corpus))
        groups = self._groups(corpus, cell_U)
        members, kept, sizes, touched = [], [], [], []
        for names, use_U in groups:
            n = max(0, len(use_U) - self.keep)
            size_M = self._sizes(n, rng)
            order_U = cell_U[rng.permutation(use_U)]
            members.append(order_U[: size_M.sum()])
            kept.append(order_U[n:])
            sizes.append(size_M)
            stay: dict[str, Any] = {"kept": len(use_U) - n} if self.keep else {}
            left = n - int(size_M.sum())
            touched.append({**names, "from": len(use_U), **stay, "profiles": len(size_M), "left_over": left})
        if not any(map(len, sizes)):
            raise CorpusError(f"pseudobulk: no {self.by} has {self._least}; lower {self._which}")
        made = CellGroups(np.concatenate(members), np.concatenate([[0], *sizes]).cumsum())
        derived = _Profiles(corpus, made, self.k, self.how)
        stays = with_uses(corpus, np.bincount(np.concatenate(kept), minlength=len(corpus)))
        stays = replace(stays, makers=stays.used_makers)
        without = int(np.sum(corpus.labels(self.by)[cell_U] == ""))
        account = {"by": self.by, "without_label": without, "touched": touched}
        return Altered(with_made(stays, derived, "pseudobulk", _shared_labels(corpus, made)), account)

    def _groups(self, corpus: Corpus, cell_U: NDArray[np.int64]) -> list[tuple[dict[str, str], NDArray[np.int64]]]:
        """Return each group's names and the uses of cells in it; refuse groups that are too small."""
        columns = ["source", self.by, *(["donor"] if self.within_donor else [])]
        table = pd.DataFrame({column: label_or_refuse(corpus, column, self)[cell_U] for column in columns})
        table = table[(table[columns] != "").all(axis=1)]
        found = [
            (dict(zip(columns, names, strict=True)), rows.to_numpy(np.int64))
            for names, rows in table.groupby(columns, sort=True).groups.items()
        ]
        too_small = [(names, len(rows)) for names, rows in found if len(rows) < self.k + self.keep]
        if too_small and self.small == "refuse":
            shown = "; ".join(f"{', '.join(names.values())}: {n}" for names, n in too_small[:5])
            raise CorpusError(
                f"pseudobulk: a group must have {self._least}, and {len(too_small):,} of {len(found):,} have fewer "
                f"({shown}{'; …' if len(too_small) > 5 else ''}); lower {self._which}, or leave them out with small = "
                '"leave_out"'
            )
        return found

    @property
    def _least(self) -> str:
        return f"{self.k:,} cells" + (f" and {self.keep:,} to keep" if self.keep else "")

    @property
    def _which(self) -> str:
        return "k or keep" if self.keep else "k"

    def _sizes(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw the sizes of the groups that n uses of cells make."""
        if n < self.k:
            return np.empty(0, np.int64)
        size_M = np.empty(0, np.int64)
        while size_M.sum() <= n:
            more = np.maximum(1, np.rint(rng.normal(self.k, self.size_sd, n // self.k + 1))).astype(np.int64)
            size_M = np.concatenate([size_M, more])
        # There are enough cells for one of size k: a first one that was drawn too large has them all.
        size_M[0] = min(size_M[0], n)
        return size_M[np.cumsum(size_M) <= n]


class CellGroups(NamedTuple):
    """Which cells are in each of M groups: flat positions, and where each group's begin and end, shape (M + 1,)."""

    members: NDArray[np.int64]
    starts: NDArray[np.int64]


def _shared_labels(corpus: Corpus, groups: CellGroups) -> pd.DataFrame:
    """Return the labels on which all members of a group agree."""
    table = {}
    for column in ("source", *(role for role in ROLES if role in corpus.cells)):
        code_N, names = pd.factorize(corpus.labels(column))
        member_codes = code_N[groups.members]
        low = np.minimum.reduceat(member_codes, groups.starts[:-1])
        agree = low == np.maximum.reduceat(member_codes, groups.starts[:-1])
        value_M = np.where(agree, names[low], "").astype(object)
        table[column] = pd.Series(value_M, dtype=object).mask(value_M == "")
    return pd.DataFrame(table)


class _Profiles(Derived):
    """A profile for each group of parents."""

    def __init__(self, parents: Corpus, groups: Iterable[NDArray[np.int64]], k: int, how: str) -> None:
        super().__init__(parents)
        self.groups, self.k, self.how = CellGroups(*groups), k, how

    @property
    def is_whole(self) -> bool:
        """Sums of counts are whole."""
        return self.how == "sum"

    def counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Add up the members' counts."""
        members_NP = self._members(rows)
        total_NG = sums(members_NP, self.parents)
        if self.how == "sum":
            if total_NG.nnz and total_NG.data.max() >= LARGEST_COUNT:
                raise CorpusError(
                    f"pseudobulk: a profile has {total_NG.data.max():,.0f} counts of one gene, too many for whole "
                    "numbers in float32; lower k, or take a mean"
                )
        else:
            size_N = np.diff(self.groups.starts)[rows] if self.how == "mean_size" else np.full(len(rows), self.k)
            # After adding up: equal sums stay equal, whatever the order they came in.
            total_NG.data /= np.repeat(size_N, np.diff(total_NG.indptr))
        return total_NG.astype(np.float32)

    def weights(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Each member counts once."""
        return self._members(rows)

    def state(self) -> dict[str, Any]:
        """Return who is with whom, and what is done to sums."""
        return {"groups": [*self.groups], "k": self.k, "how": self.how}

    def _members(self, rows: NDArray[np.int64]) -> csr_matrix:
        length_N = np.diff(self.groups.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(length_N)])
        within = np.arange(starts[-1]) - np.repeat(starts[:-1], length_N)
        members = self.groups.members[np.repeat(self.groups.starts[rows], length_N) + within]
        found = csr_matrix((np.ones(len(members), np.float32), members, starts), shape=(len(rows), len(self.parents)))
        # A cell that is used several times can be in one group as often.
        found.sum_duplicates()
        return found
