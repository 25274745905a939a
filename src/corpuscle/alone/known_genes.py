"""Known genes: cells in the genes of a fitted model, and what is said where they have few of these."""

import warnings

from corpuscle.core.errors import SourceError
from corpuscle.source.genes import By, GeneSpace, given_genes, matched_by
from corpuscle.source.source import Source

# Cells that measured less of a model's genes are refused: nearly all that the model reads would be absent. Panels of
# some hundred genes pass, also for models of all genes.
LEAST_MEASURED = 0.01
# Below this there is a warning: most of what the model reads is absent.
FEW_MEASURED = 0.5


def known_genes(source: Source, genes: tuple[tuple[str, ...], By], symbols: tuple[str, ...] = ()) -> GeneSpace:
    """Return a model's genes, and where a source has them; those that it lacks count as not measured.

    Parameters
    ----------
    source
        The cells.
    genes
        The model's genes, and by what they are matched.
    symbols
        Their symbols, by which they are matched where the source has no Ensembl ids; empty where they are not known.

    Raises
    ------
    SourceError
        When it has none of them, or less than `LEAST_MEASURED`.

    Warns
    -----
    UserWarning
        When it has less than `FEW_MEASURED`, and when symbols stand in for Ensembl ids.
    """
    ids, by = genes
    space = given_genes(source.name, source.gene_names, ids, by, symbols)
    n_measured = int(space.measured(source.name).sum())
    share = n_measured / len(ids)
    found = f"{source.name} has {n_measured:,} of the {len(ids):,} genes of the model ({share:.2%})"
    if share < LEAST_MEASURED:
        raise SourceError(
            f"{found}, less than {LEAST_MEASURED:.0%}: the others would count as absent, and what the model says would "
            "be about nothing; give cells with more of its genes, or fit a model on these genes"
        )
    if matched_by(source.gene_names, by, symbols) != by:
        _warn(f"{source.name} has no Ensembl ids, so its genes are matched with those of the model by symbol")
    if share < FEW_MEASURED:
        _warn(f"{found}: the others count as absent, so its answers may differ from those about whole cells")
    return space


def _warn(message: str) -> None:
    # The line of who called a method of `Fitted`, or `evaluate`.
    warnings.warn(message, stacklevel=5)
