"""Features that a file counts in addition to genes (antibodies, peaks, guides, …): which those are."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.errors import SourceError

# Columns that hold the kind of each feature, as `plain_name` writes them: 10x says feature_type, scanpy feature_types,
# and anndata may have put the number of a file behind it.
COLUMN = re.compile(r"featuretypes?\d*")
GENES = ("geneexpression", "gene", "genes", "rna", "mrna", "gex")
# What a kind other than genes has in its name, for tables in which no kind is called as in `GENES`: the Census keeps
# biotypes there (protein_coding, lncRNA), and those are genes.
OTHERS = re.compile(
    "antibod|antigen|^adt|^hto|hashtag|^protein$|^proteins$|surfaceprotein|peak|atac|chromatin|crispr|guide|multiplexing"
    "|^custom$|control|codeword|blank|spikein|^ercc|barcode|^tcr|^bcr|vdj"
)


class Features(NamedTuple):
    """Which features of a file are genes.

    Attributes
    ----------
    is_gene
        A mask of shape (n features,).
    others
        How many features there are of each other kind, as the file calls it.
    """

    is_gene: NDArray[np.bool_]
    others: Mapping[str, int]


def features_of(table: pd.DataFrame) -> Features:
    """Find the genes among the features, by the column of a file's var that holds their kinds.

    Where any kind is called "Gene Expression" or the like, the others are no genes; else those that are known not to be
    (antibodies, peaks, …). A feature without a kind is a gene, and so are all where there is no such column.

    Parameters
    ----------
    table
        A file's var.

    Raises
    ------
    SourceError
        When no feature is a gene.

    Examples
    --------
    >>> features_of(pd.DataFrame({"feature_types": ["Gene Expression", "Antibody Capture", None]}))
    Features(is_gene=array([ True, False,  True]), others={'Antibody Capture': 1})
    """
    column = next((name for name in table if COLUMN.fullmatch(plain_name(str(name)))), None)
    if column is None or not len(table):
        return Features(np.ones(len(table), bool), {})
    codes, kinds = pd.factorize(table[column])
    named = [plain_name(str(kind)) for kind in kinds]
    has_genes = any(name in GENES for name in named)
    other_K = [bool(name) and (name not in GENES if has_genes else bool(OTHERS.search(name))) for name in named]
    # The last is for features without a kind, whose code is -1.
    is_gene: NDArray[np.bool_] = ~np.array([*other_K, False])[codes]
    counts = {str(kind): int(np.sum(codes == at)) for at, kind in enumerate(kinds) if other_K[at]}
    if not is_gene.any():
        raise SourceError(
            f"no feature is of the type Gene Expression, so there are no genes; {column} holds {in_words(counts)}; "
            "give a file that has genes, too"
        )
    return Features(is_gene, counts)


def plain_name(name: str) -> str:
    """Write a name without capitals and marks.

    Examples
    --------
    >>> plain_name("Feature_Types"), plain_name("feature type")
    ('featuretypes', 'featuretype')
    """
    return re.sub(r"[\W_]+", "", name.casefold())


def in_words(counts: Mapping[str, int]) -> str:
    """Return how many features there are of each kind.

    Examples
    --------
    >>> in_words({"Antibody Capture": 10, "Peaks": 2000})
    '10 Antibody Capture, 2,000 Peaks'
    """
    return ", ".join(f"{n:,} {kind}" for kind, n in counts.items())
