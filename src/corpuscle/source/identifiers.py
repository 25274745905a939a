"""Which genes a file has: Ensembl ids, symbols, and which of them are mitochondrial."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

ENSEMBL = re.compile(r"^(ENS[A-Z]{0,6}G\d{6,})(\.\d+)?$")
ID_COLUMNS = ("ensembl_id", "ensembl", "gene_ids", "gene_id", "feature_id")
SYMBOL_COLUMNS = (
    "symbol",
    "gene_symbol",
    "gene_symbols",
    "feature_name",
    "gene_name",
    "gene_short_name",
    "hgnc_symbol",
)

# What missing names become when a table is turned into text.
UNKNOWN = ("nan", "NaN", "None", "<NA>")

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
        """Say whether at least half of the genes have an Ensembl id."""
        return bool(np.mean(self.ensembl != "") >= 0.5) if len(self.ensembl) else False

    @property
    def mitochondrial(self) -> NDArray[np.bool_]:
        """Say which genes are mitochondrial: by symbol (``MT-``, ``mt-``), or by Ensembl id (human)."""
        by_symbol = np.char.startswith(np.char.upper(self.symbols), "MT-")
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
    index = _clean(pd.Series(genes.index))
    index_ids = _without_version(index)
    index_is_ensembl = len(index) > 0 and np.mean(index_ids != "") >= 0.5
    ensembl = index_ids if index_is_ensembl else np.full(len(index), "", dtype=index.dtype)
    if not index_is_ensembl:
        for column in ID_COLUMNS:
            if column in genes and np.any((found := _without_version(_clean(genes[column]))) != ""):
                ensembl = found
                break
    symbols = np.full(len(index), "", dtype=index.dtype) if index_is_ensembl else index
    for column in SYMBOL_COLUMNS:
        if column in genes and np.any((found := _clean(genes[column])) != ""):
            symbols = found
            break
    return GeneNames(ensembl, symbols)


def _clean(column: "pd.Series[str]") -> NDArray[np.str_]:
    names: NDArray[np.str_] = column.astype("string").fillna("").str.strip().to_numpy(str)
    return np.where(np.isin(names, UNKNOWN), "", names)


def _without_version(names: NDArray[np.str_]) -> NDArray[np.str_]:
    """Keep the Ensembl ids, without their version; ``""`` for anything else."""
    found = [ENSEMBL.match(name) for name in names]
    return np.array([match[1] if match else "" for match in found], dtype=str)
