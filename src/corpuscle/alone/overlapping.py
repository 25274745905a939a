"""Overlap: which cells data sets share, each match verified on the counts, and which copies would have been found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from corpuscle.alone.overlap_inputs import Compared, Given, opened_inputs
from corpuscle.alone.overlap_tables import MATCHES, detection_table, matches_between, share_of
from corpuscle.core.csv_text import csv_text
from corpuscle.core.disk import writing
from corpuscle.core.errors import InputError, SourceError
from corpuscle.corpus.overlap import find_copies
from corpuscle.source.genes import By, GeneSpace, gene_space
from corpuscle.source.source import Source
from corpuscle.store import atomic, write_text

Notice = Callable[[str, float], None]


@dataclass(frozen=True, eq=False, repr=False)
class Overlap:
    """What two or more data sets have in common, or one has twice.

    Attributes
    ----------
    matches
        One row per match: ``a``, ``cell_a``, ``row_a`` and ``b``, ``cell_b``, ``row_b`` (data set, the cell's name, its
        row in the file); ``kind``: ``"identical"`` (equal counts), ``"barcode"`` (near-duplicates with a barcode in
        common) or ``"near"``; ``same_barcode``; ``n_detected`` (genes of the poorer cell, of those compared),
        ``n_agree`` (of these, how many the richer one has), ``n_genes`` (genes compared); ``chance``, the probability
        that two different cells agree as much, at most, without the barcode (NaN where the files are equal);
        ``n_equal``, how many cells have these very counts, 0 for near-duplicates. Of equal cells, each has one match.
    shares
        One row per ordered pair: of the ``n_cells`` of one, which share is ``among`` the other as ``identical``, else
        ``barcode``, else ``near``; which is ``unseen``; and which ``unknown``, as it has too few counts for a copy to
        be recognised. ``largest_group`` is the number of cells in the largest group of equal ones, ``most_matches`` how
        many near-duplicates one cell has at most, ``n_genes`` how many genes were compared.
    detection
        Which share of copies of cells ``of`` one would have been ``found`` ``among`` the other, under another barcode:
        by the share of counts ``kept``, and by detected genes, ``genes_from`` to below ``genes_to``. Of ``n_cells``.
    kinds
        Data set and which values its file holds; counts were made of what is none.
    """

    matches: pd.DataFrame
    shares: pd.DataFrame
    detection: pd.DataFrame
    kinds: pd.DataFrame

    def __repr__(self) -> str:
        seen = (
            f"{1 - row.unseen - row.unknown:.1%} of {row.of} {'twice' if row.of == row.among else f'in {row.among}'}"
            for row in self.shares.itertuples()
        )
        return f"Overlap({len(self.matches):,} matches: {', '.join(seen)})"

    def save(self, path: Path | str) -> None:
        """Write the matches as ``.csv`` or ``.parquet``.

        Raises
        ------
        InputError
            When it is another kind of file, or cannot be written there.
        """
        path = checked_output(Path(path))
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".csv":
                write_text(path, csv_text(self.matches))
            else:
                with atomic(path) as partial:
                    self.matches.to_parquet(partial, index=False)


def checked_output(path: Path) -> Path:
    """Return the path of a table that can be written; refuse others, before anything is compared."""
    if path.suffix not in (".csv", ".parquet"):
        raise InputError(f"{path}: expected a name that ends with .csv or .parquet")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file in it")
    return path


def overlap(
    *cells: Given,
    layer: str | Sequence[str | None] | None = None,
    where: str | Sequence[str | None] | None = None,
    notice: Notice = lambda _what, _share: None,
) -> Overlap:
    """Find the cells that data sets share, or that one has twice, by their counts.

    Parameters
    ----------
    cells
        AnnData, or what can be opened: a file or folder in any format that sources have, a data set of the package, or
        a corpus of a study (``study.toml:CORPUS``). One alone is searched for cells that are in it twice; of several,
        each two are compared. Values that were scaled, with or without a logarithm, are counted again.
    layer
        Where the counts are: a layer, or ``"raw"``; by default ``X``. One for all, or one for each.
    where
        Which cells to compare, a filter as in a study file. One for all, or one for each.
    notice
        Called with what is being done, and which share of it is done.

    Returns
    -------
    Overlap
        Matches, shares, and which copies would have been found.

    Raises
    ------
    InputError
        When something cannot be opened, two data sets share no gene, or there are negative values.

    Examples
    --------
    >>> import anndata, corpuscle
    >>> blood = anndata.read_h5ad(corpuscle.dataset_path("pbmc3k"))
    >>> found = corpuscle.overlap(blood[:200].to_memory(), blood[150:300, ::2].to_memory())
    >>> found
    Overlap(50 matches: 25.0% of adata 1 in adata 2, 33.3% of adata 2 in adata 1)
    >>> found.matches[["kind", "n_genes"]].value_counts().to_dict()
    {('identical', 1250): 50}
    """
    if not cells:
        raise InputError("give AnnData, or paths of files, to compare")
    inputs = opened_inputs(cells, layer, where)
    pairs = [*combinations(inputs, 2)] or [(inputs[0], inputs[0])]
    # The same cells under two names are searched for what is in them twice.
    pairs = [(one, one) if one.same == two.same else (one, two) for one, two in pairs]
    found = [_compare(one, two, notice) for one, two in dict.fromkeys(pairs)]
    kinds = [(part, kind) for one in inputs for part, kind in one.kinds.items()]
    matches, shares, detection = (
        pd.concat([getattr(one, table) for one in found], ignore_index=True)
        for table in ("matches", "shares", "detection")
    )
    return Overlap(matches, shares, detection, pd.DataFrame(kinds, columns=["of", "kind"]))


def _compare(one: Compared, two: Compared, notice: Notice) -> Overlap:
    sources = {part.name: part for data in dict.fromkeys((one, two)) for part in data.parts}
    space = _space(one, two, sources)
    pairs = [(first.name, second.name) for first in one.parts for second in two.parts]
    copies = find_copies(sources, space, pairs, notice=notice, detects=True)
    matches = matches_between(copies, one, two)
    n_genes = max(int((space.measured(first) & space.measured(second)).sum()) for first, second in pairs)
    shares = [share_of(of, among, copies, matches) for of, among in dict.fromkeys([(one, two), (two, one)])]
    detection = detection_table(copies, [(one, two), (two, one)])
    matches = matches[[*MATCHES]]
    return Overlap(matches, pd.DataFrame(shares).assign(n_genes=n_genes), detection, pd.DataFrame())


def _space(one: Compared, two: Compared, sources: dict[str, Source]) -> GeneSpace:
    """Match the genes of all parts; refuse data sets that share none."""
    names = {name: source.gene_names for name, source in sources.items()}
    by: By = "ensembl" if all(found.has_ensembl for found in names.values()) else "symbol"
    try:
        space = gene_space(names, "union", by)
        if len(names) == 2 and one is not two:
            gene_space(names, "intersection", by)
    except SourceError as error:
        # What follows is about a study file.
        raise SourceError(f"{str(error).partition('. Set by')[0]}; cells are compared over genes in common") from error
    shared = [space.measured(first.name) & space.measured(second.name) for first in one.parts for second in two.parts]
    if not np.any(shared):
        raise SourceError(f"{one.name} and {two.name} share no gene (matched by {by}); nothing can be compared")
    return space
