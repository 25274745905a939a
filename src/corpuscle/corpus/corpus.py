"""Corpus: which cells (and how often), and how they were chosen; their counts are read when asked for.

Axes in names: N cells, G genes of the study's gene space, S sources.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from corpuscle.core.components import guarded
from corpuscle.core.fingerprint import fingerprint
from corpuscle.corpus.obs import holdable
from corpuscle.source.genes import GeneSpace
from corpuscle.source.labels import label_texts
from corpuscle.source.reader import Reader
from corpuscle.source.source import ROLES

# Columns of `Corpus.cells` that every corpus has; labels (cell_type, donor, …) follow.
KEYS = ("source", "row", "barcode", "times")
# Cells read and decoded at once: 1,024 × 20,000 genes in float32 are 80 MB.
BLOCK_CELLS = 1024


class DerivedCounts(Protocol):
    """What gives the counts of made cells; see `corpuscle.corpus.derived.Derived`."""

    parents: "Corpus"

    @property
    def is_whole(self) -> bool:
        """Whether all its counts are whole numbers."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of how the cells are made and of what."""
        ...

    def counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Make the counts of some cells: float32, shape (n, G), in the order of `rows`, indices sorted."""
        ...

    def weights(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Return how much of which parent is in each cell, shape (n, P)."""
        ...

    @property
    def kind(self) -> str:
        """Where its class is."""
        ...

    @property
    def made_key(self) -> str | None:
        """What its cells are called in a store, if they are made together."""
        ...

    @property
    def trainings(self) -> Sequence[tuple[Any, int]]:
        """The models that are trained to make its cells, each with its number of cells."""
        ...

    def state(self) -> dict[str, Any]:
        """Return all that the counts depend on, the parents aside."""
        ...

    def make(self, folder: Path, notice: Callable[[str, float], None]) -> None:
        """Make all cells, and write them into a folder."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class Corpus:
    """A set of cells from one or more sources, in one gene space.

    Attributes
    ----------
    name
        What the study calls it.
    cells
        One row per distinct cell, index 0 … n-1. Columns: ``source``, ``row`` (row number in the source's file),
        ``barcode``, ``times`` (how often the cell counts in training; 1 for most), then the labels. Where a step made
        cells, there is also ``made``: the key of the `Derived` that makes them (``""`` for cells as they are in a
        file); their ``row`` is counted by it, and ``source`` is that of the cells which they are made from.
    readers
        Where each source's counts are read.
    space
        The genes, the same for all corpora of a study.
    account
        How the cells were chosen, a plain-data record per part and step.
    makers
        What gives the counts of made cells, by key.
    relabelled
        The label columns, other than roles, that are not as in the sources' files.
    """

    name: str
    cells: pd.DataFrame
    readers: Mapping[str, Reader]
    space: GeneSpace
    account: tuple[Mapping[str, Any], ...] = field(default=())
    makers: Mapping[str, DerivedCounts] = field(default_factory=dict)
    relabelled: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Corpus({self.name!r}: {self.n_cells:,} cells of {', '.join(self.sources)}, {self.n_genes:,} genes)"

    def __len__(self) -> int:
        """Count the distinct cells."""
        return len(self.cells)

    @cached_property
    def n_cells(self) -> int:
        """How many cells training sees in an epoch: distinct cells times how often each is used."""
        return int(self.cells["times"].sum())

    @property
    def n_genes(self) -> int:
        """How many genes the study's gene space has."""
        return len(self.space)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of which cells, how often, their roles, which genes, and how cells were made; not of files' content.

        That is hashed where a source is opened: see `inputs`. It decides all other columns, but for `relabelled` ones.
        """
        sources, codes = np.unique(self.cells["source"].to_numpy(str), return_inverse=True)
        rows, times = self.cells["row"].to_numpy(np.int64), self.cells["times"].to_numpy(np.int64)
        labels = {role: self.labels(role) for role in (*ROLES, *self.relabelled) if role in self.cells}
        parts = [sources.tolist(), codes.astype(np.int64), rows, times, labels, self.space.fingerprint]
        if self.used_makers:
            keys, maker_N = np.unique(self.labels("made"), return_inverse=True)
            parts.append([self.makers[key].fingerprint if key else "" for key in keys.tolist()])
            parts.append(maker_N.astype(np.int64))
        return fingerprint(*parts)

    @cached_property
    def used_makers(self) -> dict[str, DerivedCounts]:
        """What makes these cells, by key, sorted."""
        if "made" not in self.cells:
            return {}
        return {key: self.makers[key] for key in np.unique(self.labels("made")).tolist() if key}

    @property
    def is_whole(self) -> bool:
        """Whether all counts are whole numbers: made cells may be means or expectations."""
        return all(derived.is_whole for derived in self.used_makers.values())

    @property
    def inputs(self) -> list[str]:
        """The sources that these cells depend on, sorted: their own, and of what made cells were made from."""
        parents = (derived.parents.inputs for derived in self.used_makers.values())
        return sorted({*self.sources, *(source for inputs in parents for source in inputs)})

    def identity(self) -> list[Any]:
        """Return plain data that differ where the cells, their labels, genes or counts do; for fingerprints.

        So do they where the code of what chose, altered or reads the cells has another version.
        """
        return [self.fingerprint, self.versions, [self.readers[source].identity() for source in self.inputs]]

    @property
    def versions(self) -> list[list[Any]]:
        """The samplers and alterations that chose these cells, each with the version of its code, sorted."""
        known = [record for record in self.account if "version" in record]
        used = {(str((record.get("sampler") or record["step"])["name"]), str(record["version"])) for record in known}
        return [[*one] for one in sorted(used)]

    def take(self, positions: NDArray[Any], name: str | None = None) -> "Corpus":
        """Return the corpus of the cells at these positions (integers or a boolean mask) of the table."""
        cells = self.cells.take(np.flatnonzero(positions) if positions.dtype == bool else positions)
        # In place: a study has thousands of these tables, and resetting an index copies the table again.
        cells.index = pd.RangeIndex(len(cells))
        return replace(self, name=self.name if name is None else name, cells=cells)

    @cached_property
    def gaps(self) -> list[str]:
        """The columns of `cells` in which something is missing."""
        return [str(name) for name, missing in self.cells.isna().any().items() if missing]

    def as_known_to(self, training: "Corpus") -> "Corpus":
        """Return these cells with the genes that another corpus measured, too; others count as not measured.

        What a model learned of a gene that no source of its corpus measured is its initialisation. Itself where the
        other corpus measured all of these cells' genes, as in the intersection of sources.
        """
        known_G = np.logical_or.reduce(training.measured_SG)
        if not (self.measured_SG & ~known_G).any():
            return self
        return replace(self, space=self.space.limited_to(known_G))

    def labels(self, column: str) -> NDArray[np.str_]:
        """Return a label column as strings, shape (N,); a missing label reads ``""``; see `source.labels.label_of`."""
        if column not in self.cells:
            return np.full(len(self), "", dtype=str)
        if column in KEYS:
            # A source may be called "NA".
            return np.asarray(self.cells[column], dtype=str)
        return label_texts(self.cells[column])

    @property
    def sources(self) -> list[str]:
        """The sources of these cells, sorted: what `source_codes` counts."""
        return sorted(set(self.cells["source"]))

    @property
    def source_codes(self) -> NDArray[np.int64]:
        """Position of each cell's source in `sources`, shape (N,)."""
        codes: NDArray[np.int64] = np.searchsorted(self.sources, self.cells["source"].to_numpy(str)).astype(np.int64)
        return codes

    @cached_property
    def measured_SG(self) -> NDArray[np.bool_]:
        """Which genes each of `sources` measured, shape (S, G): all, unless the study has their union or a list."""
        return np.stack([self.space.measured(source) for source in self.sources])

    def counts(self, positions: NDArray[np.int64] | slice = slice(None)) -> csr_matrix:
        """Read counts in the study's gene space, float32, shape (n, G), in the table's order; `times` is not applied.

        Parameters
        ----------
        positions
            Which rows of the table; all by default. Only these are read.
        """
        source_N = self.cells["source"].iloc[positions].to_numpy(str)
        row_N = self.cells["row"].iloc[positions].to_numpy(np.int64)
        made_N = np.full(len(row_N), "")
        if "made" in self.cells:
            made_N = label_texts(self.cells["made"].iloc[positions])
        pieces, order = [], []
        for source in sorted(set(source_N[made_N == ""])):
            here = np.flatnonzero((source_N == source) & (made_N == ""))
            pieces.append(self.space.project(self.readers[source].read_counts(row_N[here]), source))
            order.append(here)
        for key in sorted(set(made_N) - {""}):
            here = np.flatnonzero(made_N == key)
            with guarded(self.makers[key]):
                pieces.append(self.makers[key].counts(row_N[here]))
            order.append(here)
        if not pieces:
            return csr_matrix((0, self.n_genes), dtype=np.float32)
        counts_NG = vstack(pieces, format="csr") if len(pieces) > 1 else pieces[0]
        back = np.argsort(np.concatenate(order), kind="stable")
        return counts_NG if np.array_equal(back, np.arange(len(back))) else counts_NG[back]

    @property
    def repeated_barcodes(self) -> dict[str, int]:
        """How many cells of each source share their barcode with another of it; sources without such are left out."""
        repeated = self.cells.duplicated(["source", "barcode"], keep=False)
        return {str(source): int(n) for source, n in self.cells["source"][repeated].value_counts().items()}

    def obs(self) -> pd.DataFrame:
        """Return the cell table as AnnData's obs.

        A cell is named ``source:barcode``, with the row appended where the source has that barcode twice, and then
        the key of what makes it, where a step does. What a file cannot hold has another name or type: see `corpus.obs`.
        """
        names = self.cells["source"] + ":" + self.cells["barcode"]
        names = names.mask(names.duplicated(keep=False), names + "-" + self.cells["row"].astype(str))
        if "made" in self.cells:
            made = names.duplicated(keep=False) & (self.labels("made") != "")
            names = names.mask(made, names + "-" + self.cells["made"].fillna(""))
        return holdable(self.cells).set_axis(pd.Index(names.to_numpy(object)))

    def var(self) -> pd.DataFrame:
        """Return the genes as AnnData's var: index = ids; ``symbol``."""
        return pd.DataFrame({"symbol": list(self.space.symbols)}, index=pd.Index(self.space.ids))

    def to_anndata(self) -> AnnData:
        """Return the corpus in memory as AnnData: raw counts in X, the cell table in obs, genes in var.

        A row is a distinct cell; ``obs["times"]`` is how often training uses it (after `oversample`, say). A row per
        use, as `corpuscle.alter` returns them: ``adata[np.repeat(np.arange(len(adata)), adata.obs["times"])]``.
        """
        return AnnData(self.counts(), obs=self.obs(), var=self.var())

    def blocks(self, n_cells: int = BLOCK_CELLS) -> Iterator[tuple[slice, csr_matrix]]:
        """Read the counts a block of cells at a time: yields the rows of the table and their counts."""
        for start in range(0, len(self), n_cells):
            rows = slice(start, min(start + n_cells, len(self)))
            yield rows, self.counts(rows)
