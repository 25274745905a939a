"""Which genes a file has: Ensembl ids, symbols, and which of them are mitochondrial."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.text import MISSING
from corpuscle.source.features import plain_name

# GENCODE writes the copies on Y of genes that X and Y share with _PAR_Y behind their id.
ENSEMBL = re.compile(r"^(ENS[A-Z]{0,6}G\d{6,})(?:\.\d+)?(?:_PAR_Y)?$")
# What files call the columns of ids and of symbols, as `plain_name` writes names: most usual first.
ID_COLUMNS = (
    "ensemblid",
    "ensembl",
    "geneids",
    "geneid",
    "featureid",
    "ensemblgeneid",
    "ensemblids",
    "id",
    "accession",
)
SYMBOL_COLUMNS = (
    "symbol",
    "genesymbol",
    "genesymbols",
    "featurename",
    "genename",
    "geneshortname",
    "hgncsymbol",
    "externalgenename",
    "mgisymbol",
    "symbols",
    "genenames",
)
# Names that columns of anything may have; looked at only where the index names no gene.
VAGUE_COLUMNS = ("features", "feature", "index", "genes", "gene", "id", "name", "names", "rownames", "varnames")

# What 10x Genomics puts before the names of a reference's genes, where there may be several: GRCh38_LYZ, mm10___Lyz2.
GENOME = re.compile(
    r"(?:GRC[a-z]{1,2}\d+|hg\d+|mm\d+|rn\d+|mRatBN\d+|danRer\d+|galGal\d+|susScr\d+|Sscrofa\d+|rheMac\d+|BDGP\d+|dm\d+"
    r"|WBcel\d+|ce\d+|sacCer\d+)(?:[-.]p?\d+)*(?:-[A-Z])?"
)

# Numbers are taken for a count of the genes, and not for Entrez ids, where the largest is below so many times how many
# they are: of genes left of a table of 50,000, five hundred count; Entrez ids of all kinds of genes go up to 10^8. What
# a filter left of a count also ascends, and stays below the length of the longest table of genes.
DENSE, LONGEST_TABLE = 100, 100_000
# What is put before numbers that count, as `plain_name` writes it.
PLACEHOLDERS = ("v", "x", "gene", "feature", "var", "variable", "row", "col", "column", "index", "id", "unnamed")
# A column is known by so many of its values.
LOOKED_AT = 500
# What looks like a symbol and is another name: transcripts, proteins, places, terms, numbers. An id of a gene often
# stands for a symbol that is not known.
SYMBOL = re.compile(r"^(?=.*[A-Za-z])[A-Za-z0-9][\w.\-:/@()]{0,39}$")
NO_SYMBOL = re.compile(
    r"^(?:ENS[A-Z]{0,6}[EPRT]\d{6,}|[NX][CGMPRW]_\d+|chr[\dXYMU].*[:_-]\d+|(?:CL|GO|HGNC|MGI|UBERON|NCBI\w*):|rs\d+$"
    r"|[OPQ]\d[A-Z\d]{3}\d(?:-\d+)?$|[A-NR-Z]\d[A-Z][A-Z\d]{2}\d(?:-\d+)?$|[\d.]+[eE][+-]?\d+$|[ACGTN]{12,})"
)

# What an index may hold in place of genes, and how it looks.
NO_GENES = {
    "barcodes of cells, as in a transposed matrix": re.compile(r"(?:^|[\W_])[ACGTN]{14,}(?:$|[\W_])"),
    "places in a genome, as peaks are called": re.compile(r"^(?:chr)?(?:\d{1,2}|[XYM]|MT)[:_-]\d+[_-]\d+$"),
}

# The human mitochondrial genome's 13 proteins and 2 rRNAs, for files that name genes by Ensembl ids alone: a filter
# on the prefix MT- silently finds nothing there (as in a published evaluation).
HUMAN_MITOCHONDRIAL = frozenset(
    f"ENSG00000{number}"
    for number in [
        "198888",
        "198763",
        "198804",
        "198712",
        "228253",
        "198899",
        "198938",
        "198840",
        "212907",
        "198886",
        "198786",
        "198695",
        "198727",
        "211459",
        "210082",
    ]
)


@dataclass(frozen=True, eq=False)
class GeneNames:
    """The names of a file's genes, each of shape (n genes in the file,); ``""`` where unknown.

    Attributes
    ----------
    ensembl
        Ensembl ids without their version.
    symbols
        Gene symbols, as the file writes them.
    """

    ensembl: NDArray[np.str_]
    symbols: NDArray[np.str_]

    @property
    def has_ensembl(self) -> bool:
        """Return whether at least half of the genes have an Ensembl id."""
        return bool(np.mean(self.ensembl != "") >= 0.5) if len(self.ensembl) else False

    @property
    def mitochondrial(self) -> NDArray[np.bool_]:
        """Return which genes are mitochondrial: by symbol (``MT-``, ``mt-``), or by Ensembl id (human)."""
        by_symbol = np.char.startswith(np.char.upper(_genomes(self.symbols)[1]), "MT-")
        return by_symbol | np.isin(self.ensembl, list(HUMAN_MITOCHONDRIAL))

    def ids(self, by: str) -> NDArray[np.str_]:
        """Return the names to match genes by: ``"ensembl"`` or ``"symbol"``."""
        return self.ensembl if by == "ensembl" else self.symbols


def gene_names(genes: pd.DataFrame) -> GeneNames:
    """Find Ensembl ids and symbols in a gene table: in its index, and in columns by their usual names.

    Parameters
    ----------
    genes
        A file's var table.

    Examples
    --------
    >>> table = pd.DataFrame({"feature_name": ["LYZ", "CD14"]}, index=["ENSG00000090382.7", "ENSG00000170458"])
    >>> gene_names(table).ensembl.tolist(), gene_names(table).symbols.tolist()
    (['ENSG00000090382', 'ENSG00000170458'], ['LYZ', 'CD14'])
    """
    index = gene_texts(pd.Series(genes.index))
    in_index = _ensembl_share(_some(pd.Series(genes.index))) >= 0.5
    ensembl = index if in_index else _best_ids(genes)
    column = _symbol_column(genes, sure=not (in_index or counts_genes(index)))
    symbols = gene_texts(genes[column]) if column is not None else None if in_index else index
    blank = np.full(len(index), "", dtype=str)
    return GeneNames(
        blank if ensembl is None else _without_version(ensembl),
        blank if symbols is None else _of_one_genome(symbols),
    )


def gene_texts(column: "pd.Series[Any]") -> NDArray[np.str_]:
    """Return names as texts without blanks around them; what is missing reads ``""``."""
    values = column.to_numpy(object)
    names: NDArray[np.str_] = np.char.strip(np.where(pd.isna(values), "", values).astype(str))
    return np.where(np.isin(names, sorted(MISSING)), "", names)


def counts_genes(names: NDArray[np.str_]) -> bool:
    """Return whether names are numbers that merely count: 0, 1, 2, …, all of them or some.

    Examples
    --------
    >>> counts_genes(np.array(["0", "1", "2"])), counts_genes(np.array(["1", "2", "9", "100287102"]))
    (True, False)
    >>> counts_genes(np.array(["611", "1033", "32100"])), counts_genes(np.array(["4069", "929", "28912"]))
    (True, False)
    """
    if not are_numbers(names):
        return False
    numbers = names[names != ""].astype(float)
    ascend = bool(np.all(np.diff(numbers) > 0))
    return float(np.max(numbers)) < max(DENSE * len(names), LONGEST_TABLE if ascend else 0)


def are_numbers(names: NDArray[np.str_]) -> bool:
    """Return whether all names that there are are whole numbers."""
    known = names[names != ""]
    digits = np.char.replace(known, ".0", "") if len(known) and known[0].endswith(".0") else known
    return len(known) > 0 and bool(np.char.isdecimal(digits).all())


def are_places(names: NDArray[np.str_]) -> bool:
    """Return whether names are a word that says nothing and numbers that count: V1, V2, V3, …, all of them or some.

    Examples
    --------
    >>> are_places(np.array(["gene_0", "gene_1"])), are_places(np.array(["CD4", "CD8"]))
    (True, False)
    """
    known = names[names != ""].tolist()
    word = re.sub(r"\d+$", "", known[0]) if known else ""
    if plain_name(word) not in PLACEHOLDERS or not all(name.startswith(word) for name in known):
        return False
    return counts_genes(np.array([name[len(word) :] for name in known], dtype=str))


def no_genes(names: NDArray[np.str_]) -> str:
    """Return what half of names or more are, where that is no genes; else nothing.

    Examples
    --------
    >>> no_genes(np.array(["chr1:9776-10668", "chr1:180712-181178"])), no_genes(np.array(["LYZ", "CD14"]))
    ('places in a genome, as peaks are called', '')
    """
    some = names[:: max(1, len(names) // LOOKED_AT)].tolist()
    return next(
        (what for what, look in NO_GENES.items() if 2 * sum(map(bool, map(look.search, some))) >= len(some)), ""
    )


def names_column(genes: pd.DataFrame) -> str | None:
    """Return the column that names the genes of a table whose index does not: by Ensembl id, or else by symbol.

    Columns of usual names come first, in any capitals; then any whose values look like names of genes, each its own.
    """
    ids, symbols = _id_column(genes), symbol_column(genes)
    return ids if symbols is None or (ids is not None and _ensembl_share(_some(genes[ids])) >= 0.5) else symbols


def symbol_column(genes: pd.DataFrame) -> str | None:
    """Return the column that names the genes by symbol, whatever it is called."""
    return _symbol_column(genes, sure=False)


def _best_ids(genes: pd.DataFrame) -> NDArray[np.str_] | None:
    column = _id_column(genes)
    return None if column is None else gene_texts(genes[column])


def _id_column(genes: pd.DataFrame) -> str | None:
    """Return the column with most Ensembl ids; of a column with an unusual name, at least half have to be."""
    shares = {name: _ensembl_share(_some(genes[name])) for name in _columns_of_text(genes)}
    usual = _usual(shares, ID_COLUMNS)
    fit = [name for name, share in shares.items() if share >= 0.5 or (share > 0 and name in usual)]
    # The first of the best: usual names in the order of `ID_COLUMNS`.
    fit.sort(key=lambda name: usual.index(name) if name in usual else len(usual))
    return max(fit, key=lambda name: (shares[name] >= 0.5, name in usual, shares[name]), default=None)


def _symbol_column(genes: pd.DataFrame, *, sure: bool) -> str | None:
    """Return the column that holds symbols; where `sure`, only one that is called so."""
    columns = {name: _some(genes[name]) for name in _columns_of_text(genes)}
    found = {name: values for name, values in columns.items() if _ensembl_share(values) < 0.5 and np.any(values != "")}
    named = [name for name in _usual(found, SYMBOL_COLUMNS) if not are_numbers(found[name])]
    if named or sure:
        return named[0] if named else None
    shares = {name: _symbol_share(values) for name, values in found.items()}
    vague = [name for name in _usual(found, VAGUE_COLUMNS) if shares[name] > 0]
    likely = [name for name, share in shares.items() if share > 0]
    likely.sort(key=lambda name: -shares[name])
    return next(iter([*vague, *likely]), None)


def _usual(columns: Iterable[str], usual: Sequence[str]) -> list[str]:
    """Return the columns that are called as one of the usual names, in their order."""
    return [name for wanted in usual for name in columns if plain_name(str(name)) == wanted]


def _columns_of_text(genes: pd.DataFrame) -> list[str]:
    """List the columns that may hold names, each name once."""
    once = genes.columns[~genes.columns.duplicated(keep=False)]
    return [name for name in once if not pd.api.types.is_numeric_dtype(genes[name].dtype)]


def _some(column: "pd.Series[Any]") -> NDArray[np.str_]:
    """Return enough of a column's names, evenly spread, to recognise what they are."""
    return gene_texts(column.iloc[:: max(1, len(column) // LOOKED_AT)])


def are_ids(names: "pd.Series[Any]") -> bool:
    """Return whether half of names or more are Ensembl ids of genes."""
    return _ensembl_share(_some(names)) >= 0.5


def _ensembl_share(names: NDArray[np.str_]) -> float:
    """Return which share of names are Ensembl ids."""
    return float(np.mean(_without_version(names) != "")) if len(names) else 0.0


def _symbol_share(names: NDArray[np.str_]) -> float:
    """Return which share of names look like symbols of genes; 0 where they are not such, or not each its own."""
    known = names[names != ""]
    if len(known) < len(names) / 2 or len(np.unique(known)) < 0.9 * len(known):
        return 0.0
    alike = [bool(SYMBOL.match(name)) and not NO_SYMBOL.match(name) for name in known.tolist()]
    share = float(np.mean(alike)) if alike else 0.0
    return share if share >= 0.9 else 0.0


def _genomes(names: NDArray[np.str_]) -> tuple[set[str], NDArray[np.str_]]:
    """Return the genomes that names begin with, and the names without them."""
    marked = np.flatnonzero(np.char.find(names, "_") > 0)
    head, _, tail = np.char.partition(names[marked], "_").T if len(marked) else np.full((3, 0), "")
    heads, head_at = np.unique(head, return_inverse=True)
    is_genome = np.array([bool(GENOME.fullmatch(name)) for name in heads.tolist()], bool)
    if not is_genome.any():
        return set(), names
    bare, here = names.copy(), is_genome[head_at]
    bare[marked[here]] = np.char.lstrip(tail[here], "_")
    return set(heads[is_genome].tolist()), bare


def _of_one_genome(symbols: NDArray[np.str_]) -> NDArray[np.str_]:
    """Take the genome off symbols, unless they are of several: human and mouse C3 are two genes."""
    genomes, bare = _genomes(symbols)
    return bare if len(genomes) == 1 else symbols


def _without_version(names: NDArray[np.str_]) -> NDArray[np.str_]:
    """Keep the Ensembl ids, without genome and version; ``""`` for anything else."""
    found = [ENSEMBL.match(name) for name in _genomes(names)[1].tolist()]
    return np.array([match[1] if match else "" for match in found], dtype=str)
