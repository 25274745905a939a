"""Overlap: which cells of a study are one cell, though they stand in two files or twice in one.

Cells are compared over the genes that both files measured. Candidates are found by sorting marks (`overlap_marks`), and
each is judged on its counts (`overlap_chance`); equal hashes are verified on them. Time grows with the number of cells,
not of pairs; memory is bounded by the marks, some 300 bytes a cell. The search is made once for a study; each corpus is
then a look-up.

Axes in names: N cells, G genes of all sources, P pairs of cells.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from corpuscle.core.fingerprint import fingerprint
from corpuscle.corpus.overlap import chance as chance
from corpuscle.corpus.overlap import marks as marks
from corpuscle.corpus.overlap import screen as screen
from corpuscle.corpus.overlap.candidates import GROUPS, Marked, candidates, identical, tried, unknown
from corpuscle.corpus.overlap.detection import COLUMNS, Setting, detection
from corpuscle.corpus.overlap.verified import verified
from corpuscle.source.genes import GeneSpace
from corpuscle.source.source import Source
from corpuscle.store import Store

# It goes into the store's keys: raise it when other copies would be found.
VERSION = 5
BLOCK_CELLS = 8192
BLOCK_PAIRS = 16384
# Counts of sources are kept in memory up to here (160 MB), and else read again.
KEPT_VALUES = 20_000_000
IDENTICAL_COLUMNS = ("cell", "group", "n_genes", "n_detected", "evidence")
NEAR_COLUMNS = ("one", "two", "identical", "same_barcode", "n_detected", "n_agree", "n_genes", "evidence")


@dataclass(frozen=True, eq=False)
class Copies:
    """The cells of a study that are one cell.

    Attributes
    ----------
    cells
        All cells, by source and row: their positions here are what the tables name them by.
    identical
        Cells with exactly the counts of another, over ``n_genes`` genes; those of one ``group`` are one cell. A cell
        may be in several groups, as two files may have other genes in common than two others. ``evidence`` is minus
        the natural log of the chance of such counts; NaN for cells that are one as their files are equal.
    near
        Pairs of cells, ``one`` and ``two``, that agree beyond what two cells do: of ``n_detected`` genes of the poorer
        one, the richer has ``n_agree``; ``evidence`` is minus the natural log of the chance of that.
    undecidable
        The cells, ascending, that have so few counts that a copy of them could not be recognised.
    detection
        Where it was asked for: which copies of some cells would be found; `detection.detection`'s columns, and ``of``
        and ``among`` which source.
    """

    cells: pd.MultiIndex
    identical: pd.DataFrame
    near: pd.DataFrame
    undecidable: NDArray[np.int64]
    detection: pd.DataFrame | None = None

    def of(self, places: NDArray[np.int64]) -> pd.DataFrame:
        """Return the copies of some cells, all that there are in the study.

        Parameters
        ----------
        places
            Positions in `cells`.

        Returns
        -------
        Columns ``cell`` (a copy), ``original`` (one of the cells given that it copies) and `why`'s.
        """
        tables = []
        for one, two in (("one", "two"), ("two", "one")):
            here = self.near[np.isin(self.near[one], places)]
            tables.append(here.rename(columns={one: "original", two: "cell"}))
        within = self.identical[np.isin(self.identical["cell"], places)]
        first = within.drop_duplicates("group").rename(columns={"cell": "original"})[["group", "original"]]
        equal = self.identical.merge(first, on="group")
        equal = equal[equal["cell"] != equal["original"]]
        equal = equal.assign(identical=True, same_barcode=False, n_detected=0, n_agree=0, evidence=np.inf)
        columns = ["cell", "original", *NEAR_COLUMNS[2:]]
        found = pd.concat([equal[columns], *(table[columns] for table in tables)], ignore_index=True)
        return found.sort_values("identical", ascending=False, kind="stable").drop_duplicates("cell", ignore_index=True)

    def later(self, places: NDArray[np.int64], *, exact: bool) -> NDArray[np.int64]:
        """Return those of some cells that copy an earlier one of them which is not itself such a copy.

        Parameters
        ----------
        places
            Positions in `cells`.
        exact
            Whether only identical cells count.
        """
        near = self.near[self.near["identical"]] if exact else self.near
        near = near[np.isin(near["one"], places) & np.isin(near["two"], places)]
        same = self.identical[np.isin(self.identical["cell"], places)].sort_values("cell")
        dropped: set[int] = set(same["cell"][same.duplicated("group")].tolist())
        ends = np.sort(near[["one", "two"]].to_numpy(np.int64), axis=1)
        for first, second in ends[np.lexsort((ends[:, 1], ends[:, 0]))].tolist():
            if first not in dropped:
                dropped.add(second)
        return np.array(sorted(dropped), np.int64)


def why(copy: "pd.Series[int]") -> str:
    """Return how a cell is known to be a copy: one row of `Copies.of`.

    Examples
    --------
    >>> row = {"identical": False, "same_barcode": True, "n_detected": 800, "n_agree": 798, "n_genes": 9000,
    ...        "evidence": 90.0}
    >>> why(pd.Series(row))
    'near-duplicate with the same barcode: 798 of 800 detected genes agree, chance below 1e-39'
    """
    barcode = " with the same barcode" if copy["same_barcode"] else ""
    if copy["identical"]:
        return f"identical counts over {copy['n_genes']:,} shared genes{barcode}"
    agree = f"{copy['n_agree']:,} of {copy['n_detected']:,} detected genes agree"
    return f"near-duplicate{barcode}: {agree}, chance below 1e-{int(copy['evidence'] / np.log(10))}"


def no_copies(sources: Mapping[str, Source]) -> Copies:
    """Return that nothing was compared."""
    near = pd.DataFrame({name: np.empty(0, np.int64) for name in NEAR_COLUMNS}).astype({"identical": bool})
    identical = pd.DataFrame({name: np.empty(0, np.int64) for name in IDENTICAL_COLUMNS}).astype({"evidence": float})
    return Copies(_index(sources), identical, near, np.empty(0, np.int64))


def _index(sources: Mapping[str, Source]) -> pd.MultiIndex:
    names = np.repeat(np.array([*sources, ""], object)[:-1], [len(source) for source in sources.values()])
    rows = [source.cells["row"].to_numpy(np.int64) for source in sources.values()]
    return pd.MultiIndex.from_arrays([names, np.concatenate([np.empty(0, np.int64), *rows])], names=["source", "row"])


def find_copies(
    sources: Mapping[str, Source],
    space: GeneSpace,
    pairs: Iterable[tuple[str, str]],
    store: Store | None = None,
    notice: Callable[[str, float], None] = lambda _what, _share: None,
    *,
    detects: bool = False,
) -> Copies:
    """Find the cells that are one cell, or take what is in the store.

    Parameters
    ----------
    sources
        All sources of a study.
    space
        The union of their genes.
    pairs
        Which sources to compare; one with itself for copies within it.
    store
        Where results are kept, so that they need not be found again.
    notice
        Called with what is being done, and which share of it is done.
    detects
        Whether to try also which copies of some cells would be found; that is not kept in a store.
    """
    wanted = sorted({(min(pair), max(pair)) for pair in pairs})
    if not wanted:
        return no_copies(sources)
    if store is None:
        return _Search(sources, space, notice, detects=detects).run(wanted)
    content = {name: [*source.reader.identity(), source.cells["row"].to_numpy(),
                      source.cells["barcode"].astype(str).tolist()] for name, source in sources.items()}  # fmt: skip
    key = fingerprint("copies", VERSION, content, space.fingerprint, [list(pair) for pair in wanted])

    def write(folder: Path) -> None:
        found = _Search(sources, space, notice).run(wanted)
        found.identical.to_parquet(folder / "identical.parquet")
        found.near.to_parquet(folder / "near.parquet")
        pd.DataFrame({"cell": found.undecidable}).to_parquet(folder / "undecidable.parquet")

    folder = store.kept("copies", key, write, label="cells that are one cell")
    identical, near, undecidable = (
        pd.read_parquet(folder / f"{name}.parquet") for name in ("identical", "near", "undecidable")
    )
    return Copies(_index(sources), identical, near, undecidable["cell"].to_numpy(np.int64))


class _Search:
    """One search: the sources' counts where they fit, and what is known of all cells."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        space: GeneSpace,
        notice: Callable[[str, float], None],
        *,
        detects: bool = False,
    ) -> None:
        self.sources, self.space, self.notice = sources, space, notice
        self.detections: list[pd.DataFrame] | None = [] if detects else None
        self.names = list(sources)
        self.starts = np.concatenate([[0], np.cumsum([len(source) for source in sources.values()])]).astype(np.int64)
        self.kept: dict[str, csr_matrix] = {}
        self.bars = chance.Evidence.of(len(self.space))
        self.frequency_G = np.zeros(len(self.space))
        barcodes = [core for source in sources.values() for core in _cores(source)]
        codes = pd.factorize(pd.Series(barcodes, dtype=object).where(lambda core: core != "", None))[0]
        times = np.bincount(codes + 1)
        times[0] = 0
        self.barcode_N = np.where(times[codes + 1] > marks.MOST_OF_A_BARCODE, 0, codes + 1).astype(np.uint64)
        self.detected_N = np.zeros(len(codes), np.int32)

    def run(self, pairs: list[tuple[str, str]]) -> Copies:
        """Compare sources, those with the same genes in common together."""
        over: dict[bytes, list[tuple[str, str]]] = {}
        for one, two in pairs:
            over.setdefault((self.space.measured(one) & self.space.measured(two)).tobytes(), []).append((one, two))
        used = sorted({name for pair in pairs for name in pair}, key=self.names.index)
        samples = {name: self._sample(name) for name in used}
        whole = vstack(list(samples.values()), format="csr")
        self.frequency_G = np.bincount(whole.indices, minlength=len(self.space)) / max(1, whole.shape[0])
        arrival_GD = marks.races(self.frequency_G)
        equal: list[pd.DataFrame] = []
        near: list[pd.DataFrame] = []
        poor_N = np.zeros(self.starts[-1], bool)
        for genes, together in over.items():
            shared_G = np.frombuffer(genes, bool).copy()
            if not shared_G.any():
                continue
            behind = {name: chance.background(samples[name], shared_G) for name in used if name in sum(together, ())}
            marked = self._mark(behind, shared_G, arrival_GD)
            self.bars = chance.Evidence.of(len(marked.place_N))
            alike = identical(marked, self.bars, int(shared_G.sum()), len(equal))
            self.notice("comparing cells with equal hashes", 0)
            equal.append(verified(alike, self._counts_at, shared_G))
            near.append(self._near(marked, behind, together, (samples, arrival_GD)))
            poor_N[marked.place_N[np.maximum(marked.presence_N, marked.equal_N) < self.bars.near]] = True
        for one, two in pairs:
            equal.append(self._of_equal_files(one, two, len(equal)))
        for table, names in ((found, ("cell", "one", "two")) for found in (*equal, *near)):
            for name in table.columns.intersection(names):
                poor_N[table[name].to_numpy(np.int64)] = False
        empty = no_copies(self.sources)
        tables = [pd.concat(found, ignore_index=True) if found else None for found in (equal, near)]
        return Copies(
            empty.cells,
            empty.identical if tables[0] is None else tables[0],
            empty.near if tables[1] is None else tables[1].drop_duplicates(["one", "two"], ignore_index=True),
            np.flatnonzero(poor_N),
            None if self.detections is None else _together(self.detections),
        )

    def _allowed(self, pairs: list[tuple[str, str]]) -> NDArray[np.bool_]:
        """Return which sources are to be compared, shape (S, S)."""
        allowed = np.zeros((len(self.names), len(self.names)), bool)
        for one, two in pairs:
            a, b = self.names.index(one), self.names.index(two)
            allowed[a, b] = allowed[b, a] = True
        return allowed

    def _counts(self, name: str, positions: NDArray[np.int64]) -> csr_matrix:
        """Read counts of some of a source's cells, in the genes of all sources."""
        if name in self.kept:
            return self.kept[name][positions]
        rows = self.sources[name].cells["row"].to_numpy(np.int64)[positions]
        return self.space.project(self.sources[name].reader.read_counts(rows), name)

    def _counts_at(self, place_P: NDArray[np.int64]) -> csr_matrix:
        """Read counts of cells of any sources, in their order."""
        source_P = np.searchsorted(self.starts, place_P, side="right") - 1
        pieces, order = [], []
        for at in np.unique(source_P).tolist():
            here = np.flatnonzero(source_P == at)
            places, back = np.unique(place_P[here], return_inverse=True)
            pieces.append(self._counts(self.names[at], places - self.starts[at])[back])
            order.append(here)
        return vstack(pieces, format="csr")[np.argsort(np.concatenate(order), kind="stable")]

    def _blocks(self, name: str) -> Iterator[tuple[int, csr_matrix]]:
        """Read all counts of a source; keep them where they are few."""
        pieces, n = [], len(self.sources[name])
        for start in range(0, n, BLOCK_CELLS):
            block = self._counts(name, np.arange(start, min(start + BLOCK_CELLS, n)))
            yield start, block
            if name not in self.kept:
                pieces.append(block)
                if sum(piece.nnz for piece in (*pieces, *self.kept.values())) > KEPT_VALUES:
                    pieces = [csr_matrix((0, block.shape[1]), dtype=block.dtype)]
        if name not in self.kept and sum(piece.shape[0] for piece in pieces) == n:
            self.kept[name] = vstack(pieces, format="csr")

    def _sample(self, name: str) -> csr_matrix:
        """Read a sample of a source's cells: runs of neighbours, as they are read faster."""
        n = len(self.sources[name])
        if n <= 2 * BLOCK_CELLS:
            for _ in self._blocks(name):
                pass
        starts = np.linspace(0, max(0, n - 32), -(-chance.SAMPLE // 32)).astype(np.int64)
        positions = np.unique((starts[:, None] + np.arange(32)).ravel())
        return self._counts(name, positions[positions < n])

    def _mark(
        self, behind: Mapping[str, chance.Background], shared_G: NDArray[np.bool_], arrival_GD: NDArray[np.float32]
    ) -> Marked:
        """Read the counts of sources once, for the marks of their cells over some genes."""
        found, done = [], 0
        # By far the most of what is known of a cell: never in memory twice.
        band_NW = np.empty((sum(len(self.sources[name]) for name in behind), marks.BANDS), np.uint32)
        for name, known in behind.items():
            at = self.names.index(name)
            for start, counts in self._blocks(name):
                self.notice(f"comparing cells of {name}", start / len(self.sources[name]))
                place_N = self.starts[at] + start + np.arange(counts.shape[0])
                evidence = chance.own_evidence(counts, known)
                hashes = marks.hashes(counts, shared_G)
                band_NW[done : done + len(place_N)] = marks.bands(counts, shared_G, arrival_GD)
                done += len(place_N)
                n_detected = np.diff(np.concatenate([[0], np.cumsum(shared_G[counts.indices])])[counts.indptr])
                self.detected_N[place_N] = n_detected
                known_N = self.barcode_N[place_N], *hashes, self.detected_N[place_N], *evidence
                found.append((place_N, np.full(len(place_N), at), *known_N))
        columns = [np.concatenate(column) for column in zip(*found, strict=True)]
        return Marked._make([*columns, band_NW])

    def _of_equal_files(self, one: str, two: str, turn: int) -> pd.DataFrame:
        """Group the cells that two sources offer of the same file, however few counts they have."""
        first, second = self.sources[one], self.sources[two]
        same = first.content == second.content and first.reader.spec()["counts"] == second.reader.spec()["counts"]
        if one == two or not same:
            return no_copies(self.sources).identical
        rows = [source.cells["row"].to_numpy(np.int64) for source in (first, second)]
        shared, *at = np.intersect1d(*rows, return_indices=True)
        cells = [self.starts[self.names.index(name)] + found for name, found in zip((one, two), at, strict=True)]
        n_genes = int((self.space.measured(one) & self.space.measured(two)).sum())
        group = turn * GROUPS + np.tile(np.arange(len(shared)), 2)
        place = np.concatenate(cells)
        known = {"n_genes": n_genes, "n_detected": self.detected_N[place], "evidence": np.nan}
        return pd.DataFrame({"cell": place, "group": group, **known}).astype(no_copies(self.sources).identical.dtypes)

    def _near(
        self,
        marked: Marked,
        behind: Mapping[str, chance.Background],
        pairs: list[tuple[str, str]],
        tried_on: tuple[Mapping[str, csr_matrix], NDArray[np.float32]],
    ) -> pd.DataFrame:
        """Judge all candidates, and keep those that are copies."""
        known, tables = next(iter(behind.values())), []
        n_cells = {name: len(source) for name, source in self.sources.items()}
        screened = [
            (one, two) for one, two in pairs if screen.affordable(n_cells[one], n_cells[two], int(known.shared_G.sum()))
        ]
        few = self._few_genes({name for pair in screened for name in pair}, known.shared_G)
        banded = self._allowed([pair for pair in pairs if pair not in screened])
        marked_P2, fewest_bands = candidates(marked, self._allowed(pairs), banded, self.bars)
        for pair in pairs if self.detections is not None else ():
            setting = Setting(tried_on[1], self.bars, 0 if pair in screened else fewest_bands)
            self._detect(pair, tried_on[0], behind, setting)
        source_P2 = marked.source_N[marked_P2]
        for one, two in pairs:
            a, b = sorted((self.names.index(one), self.names.index(two)))
            found = [marked_P2[(source_P2[:, 0] == a) & (source_P2[:, 1] == b)]]
            if (one, two) in screened:
                found.append(unknown(marked, self._screened(marked, (a, b), few), self.bars))
            here = marked.place_N[np.unique(np.concatenate(found), axis=0)]
            judged = []
            for start in range(0, len(here), BLOCK_PAIRS):
                self.notice(f"comparing cells of {one} and {two}", start / len(here))
                judged.append(self._judged(here[start : start + BLOCK_PAIRS], (a, b), behind))
            if judged:
                tables.append(self._believed(pd.concat(judged, ignore_index=True), marked, (a, b)))
        empty = no_copies(self.sources).near
        found_near = pd.concat([empty, *tables], ignore_index=True).astype(empty.dtypes)
        return found_near.assign(n_genes=int(known.shared_G.sum()))

    def _detect(
        self,
        pair: tuple[str, str],
        samples: Mapping[str, csr_matrix],
        behind: Mapping[str, chance.Background],
        setting: Setting,
    ) -> None:
        """Try copies of cells of either source among those of the other."""
        assert self.detections is not None
        for of, among in dict.fromkeys((pair, pair[::-1])):
            found = detection(samples[of], (behind[of], behind[among]), setting)
            self.detections.append(found.assign(of=of, among=among)[[*COLUMNS]])

    def _few_genes(self, names: set[str], shared_G: NDArray[np.bool_]) -> dict[str, csr_matrix]:
        """Read the counts of all cells of sources, in the genes that a screen looks at."""
        genes = screen.informative(self.frequency_G * shared_G)
        return {name: vstack([block[:, genes] for _, block in self._blocks(name)], format="csr") for name in names}

    def _screened(self, marked: Marked, at: tuple[int, int], counts_of: Mapping[str, csr_matrix]) -> NDArray[np.int64]:
        """Return pairs of two sources that are likely one cell: positions in `marked`, ascending."""
        starts = [marked.of(source).start for source in at]
        one, two = (counts_of[self.names[source]] for source in at)
        found = [np.sort(pairs + starts, axis=1) for pairs in screen.likeliest(one, two, within=at[0] == at[1])]
        return np.unique(np.concatenate(found), axis=0)

    def _believed(self, judged: pd.DataFrame, marked: Marked, at: tuple[int, int]) -> pd.DataFrame:
        """Return which of the pairs of two sources are one cell, those with the same barcode by themselves."""
        same_P = judged["same_barcode"].to_numpy(bool)
        evidence_P = judged["evidence"].to_numpy(np.float64)
        copy_P = self.bars.believed(evidence_P, judged["identical"].to_numpy(bool), same_P)
        for of_class, limits in zip((~same_P, same_P), tried(marked, *at, self.bars), strict=True):
            ends_P2 = judged.loc[of_class, ["one", "two"]].to_numpy(np.int64)
            copy_P[of_class] |= chance.among_copies(evidence_P[of_class], ends_P2, copy_P[of_class], *limits)
        return judged[copy_P]

    def _judged(
        self, place_P2: NDArray[np.int64], at: tuple[int, int], behind: Mapping[str, chance.Background]
    ) -> pd.DataFrame:
        """Judge some pairs of two sources."""
        counts, rows = [], []
        for side in range(2):
            places, row_P = np.unique(place_P2[:, side], return_inverse=True)
            counts.append(self._counts(self.names[at[side]], places - self.starts[at[side]]))
            rows.append(row_P)
        known = behind[self.names[at[0]]], behind[self.names[at[1]]]
        found = chance.compare(counts[0], counts[1], np.stack(rows, axis=1).astype(np.int64), known)
        barcode_P2 = self.barcode_N[place_P2]
        same_P = (barcode_P2[:, 0] == barcode_P2[:, 1]) & (barcode_P2[:, 0] > 0)
        likely_P = chance.likely(found, same_P)
        return pd.DataFrame(
            {
                "one": place_P2[:, 0], "two": place_P2[:, 1], "identical": found.identical_P, "same_barcode": same_P,
                "n_detected": found.n_detected_P, "n_agree": found.n_agree_P, "n_genes": 0,
                "evidence": found.evidence_P,
            }
        )[likely_P]  # fmt: skip


def _together(detections: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(detections, ignore_index=True) if detections else pd.DataFrame(columns=list(COLUMNS))


def _cores(source: Source) -> list[str]:
    return marks.barcode_cores(source.cells["barcode"].astype(str).tolist())
