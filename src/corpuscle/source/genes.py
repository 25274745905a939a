"""One gene space for a study: which genes, and which column of each source holds which of them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from io import StringIO
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.errors import SourceError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.core.paths import is_there, read_plain
from corpuscle.source.features import plain_name
from corpuscle.source.gene_names import (
    ENSEMBL,
    ID_COLUMNS,
    LOOKED_AT,
    SYMBOL_COLUMNS,
    VAGUE_COLUMNS,
    GeneNames,
    gene_names,
)

By = Literal["ensembl", "symbol"]

# What a list of one column may have in its first line.
HEADERS = {*ID_COLUMNS, *SYMBOL_COLUMNS, *VAGUE_COLUMNS}
# Fewer names than this may differ in case only, whatever the organism.
FEW = 10
# How many genes a message shows.
SHOWN = 5
# Sources of two organisms share less than this of their names.
FEW_SHARED = 0.2


@dataclass(frozen=True, eq=False)
class GeneSpace:
    """The genes of a study, and where each source has them.

    Attributes
    ----------
    ids
        The genes' ids (Ensembl ids without version, or symbols), sorted, length G.
    symbols
        A symbol for each, for people to read; the id where none is known.
    columns
        For each source, shape (n genes in its file,): the position of each of its genes in `ids`, -1 where it is not
        in the space. Several columns with one position are summed.
    """

    ids: tuple[str, ...]
    symbols: tuple[str, ...]
    columns: Mapping[str, NDArray[np.int32]]

    def __len__(self) -> int:
        """Count the genes."""
        return len(self.ids)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the genes and of where each source has them."""
        return fingerprint(list(self.ids), dict(self.columns))

    def measured(self, source: str) -> NDArray[np.bool_]:
        """Return which genes a source measured, shape (G,)."""
        columns = self.columns[source]
        mask = np.zeros(len(self), bool)
        mask[columns[columns >= 0]] = True
        return mask

    def limited_to(self, kept_G: NDArray[np.bool_]) -> "GeneSpace":
        """Return the same genes, of which only some, by a mask of shape (G,), count as measured in any source."""
        # The last entry is for genes that are not in the space: their -1 stays.
        position = np.append(np.where(kept_G, np.arange(len(self)), -1), -1).astype(np.int32)
        return replace(self, columns={source: position[columns] for source, columns in self.columns.items()})

    def project(self, counts: csr_matrix, source: str) -> csr_matrix:
        """Carry counts from a source's own genes to the space.

        Parameters
        ----------
        counts
            Shape (n, n genes in the source's file).

        Returns
        -------
        float32, shape (n, G), sorted indices; duplicates of a gene are summed, genes outside the space are gone.
        """
        position = self.columns[source][counts.indices]
        kept = position >= 0
        # The caller's pointers are copied: summing duplicates moves them.
        data, ends = counts.data, counts.indptr.copy()
        if not kept.all():
            data, position, ends = data[kept], position[kept], np.concatenate([[0], np.cumsum(kept)])[ends]
        projected = csr_matrix((data.astype(np.float32), position, ends), shape=(counts.shape[0], len(self)))
        projected.sum_duplicates()
        projected.eliminate_zeros()
        return projected


def gene_space(names: Mapping[str, GeneNames], genes: Path | str = "intersection", by: By | None = None) -> GeneSpace:
    """Choose the genes of a study.

    Parameters
    ----------
    names
        The gene names of each source.
    genes
        ``"intersection"``: genes that every source measured. ``"union"``: genes that any source measured; where one
        did not, the gene counts as *not measured*, which is not a zero. A path: the genes that the file lists, as
        far as any source measured them.
    by
        Match genes by ``"ensembl"`` id or by ``"symbol"``; None: by Ensembl id where every source has them, else by
        symbol.

    Raises
    ------
    SourceError
        When a source has no names of the kind, the sources share no gene, or they are of different organisms.

    Examples
    --------
    >>> a, b = (gene_names(pd.DataFrame(index=symbols)) for symbols in (["LYZ", "CD14", "LYZ"], ["CD14", "INS"]))
    >>> space = gene_space({"a": a, "b": b}, "union")
    >>> space.ids, space.columns["a"].tolist()
    (('CD14', 'INS', 'LYZ'), [2, 0, 2])
    """
    by = by or ("ensembl" if all(source.has_ensembl for source in names.values()) else "symbol")
    for source, found in names.items():
        if not np.any(found.ids(by) != ""):
            raise SourceError(f"source {source!r} names no gene by {by}; {_examples(names)}")
    offered = {source: set(found.ids(by).tolist()) - {""} for source, found in names.items()}
    kinds = {source: _organism(found.ids(by), by) for source, found in names.items()}
    _refuse_other_organism(offered, kinds, by)
    if genes == "intersection":
        chosen = set.intersection(*offered.values())
    elif genes == "union":
        chosen = set().union(*offered.values())
    else:
        chosen = listed_genes(Path(genes), by) & set().union(*offered.values())
    without = [source for source, found in offered.items() if not found & chosen]
    if without or not chosen:
        which = "the sources share no gene" if genes == "intersection" else "no source has a gene of the list"
        if chosen:
            which = f"{' and '.join(map(repr, without))} have none of the study's genes"
        raise SourceError(f"{which} (matched by {by}); {_examples(names)}")
    ids = sorted(chosen)
    position = {gene: at for at, gene in enumerate(ids)}
    columns = {
        source: np.array([position.get(gene, -1) for gene in found.ids(by).tolist()], np.int32)
        for source, found in names.items()
    }
    return GeneSpace(tuple(ids), tuple(_symbols(ids, names, columns)), columns)


def given_genes(
    source: str, names: GeneNames, ids: tuple[str, ...], by: By, symbols: tuple[str, ...] = ()
) -> GeneSpace:
    """Return a space of given genes, and where a source has them: those that it lacks count as not measured.

    Parameters
    ----------
    source, names
        The source, and the names of its genes.
    ids, by
        The genes, and what they are matched by.
    symbols
        Their symbols, by which they are matched where `matched_by` says so. A symbol of several genes matches none.

    Raises
    ------
    SourceError
        When it has none of them.

    Examples
    --------
    >>> names = gene_names(pd.DataFrame(index=["CD14", "LYZ"]))
    >>> given_genes("blood", names, ("INS", "LYZ"), "symbol").columns["blood"].tolist()
    [-1, 1]
    >>> given_genes("blood", names, ("ENSG00000090382",), "ensembl", ("LYZ",)).columns["blood"].tolist()
    [-1, 0]
    """
    kind = matched_by(names, by, symbols)
    known = ids if kind == by else symbols
    times = Counter(known)
    position = {name: at for at, name in enumerate(known) if times[name] == 1}
    columns = np.array([position.get(name, -1) for name in names.ids(kind).tolist()], np.int32)
    if not (columns >= 0).any():
        raise SourceError(
            f"source {source!r} has none of the {len(ids):,} genes, such as {', '.join(known[:3])} "
            f"(matched by {kind}); {_other_names(names, kind)}"
        )
    space = GeneSpace(ids, symbols or ids, {source: columns})
    return replace(space, symbols=tuple(_symbols([*ids], {source: names}, space.columns))) if not symbols else space


def matched_by(names: GeneNames, by: By, symbols: tuple[str, ...]) -> By:
    """Return what given genes are matched by: symbols stand in for Ensembl ids that a source does not have."""
    return "symbol" if symbols and by == "ensembl" and not names.has_ensembl else by


def _other_names(names: GeneNames, by: By) -> str:
    """Return what a source's genes are called, and what to do where given genes are called otherwise."""
    ids, symbols = ([name for name in kind.tolist() if name][:3] for kind in (names.ensembl, names.symbols))
    named = " and ".join(f"{', '.join(some)}, …" for some in (symbols, ids) if some)
    if by == "ensembl" and not ids:
        to_do = "add their Ensembl ids as a column ensembl_id of var"
    elif by == "symbol" and not symbols:
        to_do = "add their symbols as a column gene_symbol of var"
    else:
        to_do = "give cells of the same organism, whose genes have names of the same kind"
    return f"its genes are called {named or 'nothing'}; {to_do}"


def _refuse_other_organism(offered: Mapping[str, set[str]], kinds: Mapping[str, str], by: By) -> None:
    """Refuse sources of different organisms: what their names share by chance is no gene space.

    An organism is what most names say; sources that share more than a few of their genes are not refused, as an
    experiment of two organisms shares genes with one of either.
    """
    for (first, one), (other, two) in combinations(offered.items(), 2):
        if "" in (kinds[first], kinds[other]) or kinds[first] == kinds[other]:
            continue
        # Human LYZ and mouse Lyz: far more names are the same without regard to case than with.
        folded = {name.casefold() for name in one} & {name.casefold() for name in two}
        alike = len(folded) if by == "symbol" else min(len(one), len(two))
        if (by == "symbol" and alike < FEW) or len(one & two) >= FEW_SHARED * alike:
            continue
        example = next((f"{name} and {low}" for name in sorted(one) for low in [_other_case(name, two)] if low), "")
        shown = example or f"{_typical(one, kinds[first])} and {_typical(two, kinds[other])}"
        raise SourceError(
            f"sources {first!r} and {other!r} name genes of different organisms ({shown}, matched by {by}); write "
            "one of the files anew with the other organism's names of one-to-one orthologs, or make a study of each"
        )


def _organism(names: NDArray[np.str_], by: By) -> str:
    """Return what most of a source's names begin with, or how most are written; empty where no kind has most."""
    names = names[names != ""]
    names = names[:: max(1, len(names) // LOOKED_AT)]
    if by == "ensembl":
        kinds = Counter(name.rstrip("0123456789") for name in names.tolist())
    else:
        kinds = Counter("LYZ" if name.isupper() else "lyz" if name.islower() else "Lyz" for name in names.tolist())
    kind, n_names = kinds.most_common(1)[0]
    return kind if n_names > len(names) / 2 else ""


def _typical(names: set[str], kind: str) -> str:
    """Return the first name of a kind."""
    return min((name for name in names if name.startswith(kind)), default=min(names))


def _other_case(name: str, names: set[str]) -> str | None:
    """Return how a name is written in the other organism, by the usual two ways of writing, if it is."""
    return next((other for other in (name.upper(), name.capitalize()) if other != name and other in names), None)


def _examples(names: Mapping[str, GeneNames]) -> str:
    shown = []
    for source, found in names.items():
        some = dict.fromkeys(name for name in (*found.symbols[:2].tolist(), *found.ensembl[:1].tolist()) if name)
        shown.append(f"{source}: {', '.join(some) or 'no names'}, …")
    to_do = 'Set by = "symbol" or "ensembl" under [genes], or leave out what has other genes'
    return f"genes are named {'; '.join(shown)}. {to_do}"


def listed_genes(path: Path, by: By) -> set[str]:
    """Read a list of genes: a text file with one a line, or a CSV or TSV with a column of ids or symbols.

    Several columns need a header, unless the first holds Ensembl ids: then, as in 10x's ``features.tsv``, the second
    holds symbols. A single column may have one.

    Raises
    ------
    SourceError
        When there is no such file, or it is no list of genes.
    """
    if not is_there(path):
        raise SourceError(f'no such gene list: {path}; write "intersection", "union", or the path of a file of genes')
    try:
        text = read_plain(path, "utf-8-sig")
        separator = "\t" if "\t" in text.partition("\n")[0] else ","
        table = pd.read_csv(StringIO(text), sep=separator, dtype=str, header=None, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise SourceError(f"{path}: not a list of genes ({error})") from error
    first = table.iloc[0].tolist()
    if len(first) > 1:
        header = ["", "symbol", *map(str, range(2, len(first)))] if ENSEMBL.match(first[0]) else first
        table = table.set_axis(header, axis=1).iloc[0 if header is not first else 1 :]
        table = table.loc[:, ~table.columns.duplicated()]
    elif plain_name(first[0]) in HEADERS:
        table = table.iloc[1:]
    listed = set(gene_names(table.set_index(table.columns[0])).ids(by).tolist()) - {""}
    if not listed:
        raise SourceError(
            f"{path}: the list holds no gene by {by}; its first line reads {', '.join(first)[:80]!r}; "
            'set by = "symbol" or "ensembl" under [genes]'
        )
    return listed


def _symbols(ids: list[str], names: Mapping[str, GeneNames], columns: Mapping[str, NDArray[np.int32]]) -> list[str]:
    """Find a symbol for each gene: the first source's that has one, else the id."""
    symbols = list(ids)
    for source in reversed(list(names)):
        known = (columns[source] >= 0) & (names[source].symbols != "")
        for at, symbol in zip(columns[source][known].tolist(), names[source].symbols[known].tolist(), strict=True):
            symbols[at] = symbol
    return symbols


def not_found(path: Path, by: By, space: GeneSpace) -> str:
    """Return how many genes of a list no source has, and which; empty where all were found."""
    listed = listed_genes(path, by)
    missing = sorted(listed - set(space.ids))
    if not missing:
        return ""
    more = ", …" if len(missing) > SHOWN else ""
    return (
        f"no source has {len(missing):,} of the {len(listed):,} genes of {path.name}, matched by {by}: "
        f"{', '.join(missing[:SHOWN])}{more}"
    )


def loss_table(names: Mapping[str, GeneNames], space: GeneSpace, by: By) -> pd.DataFrame:
    """Return what each source lost on the way to the gene space.

    Returns
    -------
    One row per source: ``n_genes`` in its file, of which ``no_id`` have no name of the kind, ``lost`` are outside the
    space, ``merged`` went into another column's gene, and ``kept`` genes remain.
    """
    rows = []
    for source, columns in space.columns.items():
        kept = int(space.measured(source).sum())
        no_id = int(np.sum(names[source].ids(by) == ""))
        inside = int(np.sum(columns >= 0))
        rows.append((source, len(columns), no_id, len(columns) - no_id - inside, inside - kept, kept))
    return pd.DataFrame(rows, columns=["source", "n_genes", "no_id", "lost", "merged", "kept"])


def unique_labels(space: GeneSpace) -> list[str]:
    """Name each gene by its symbol, or by its id where that is not its own, length G."""
    times = Counter(space.symbols)
    return [symbol if times[symbol] == 1 else gene for gene, symbol in zip(space.ids, space.symbols, strict=True)]
