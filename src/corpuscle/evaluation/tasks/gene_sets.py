"""Gene sets: which known sets of genes a model's latents stand for, and which it expects too much or too little of.

Axes in names: G genes, V vectors (rankings of genes), S sets.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from corpuscle.core.components import component
from corpuscle.core.errors import ComponentError, ModelError
from corpuscle.core.scores import Metric, Score
from corpuscle.core.text import shortened
from corpuscle.corpus.corpus import Corpus
from corpuscle.evaluation.gene_means import expected_mean, observed_mean
from corpuscle.evaluation.gene_sets import FoundSet, GeneSet, cell_cycle, find_sets, read_gmt, why_none
from corpuscle.evaluation.metrics.enrichment import NONE, Enrichment, enrichments, false_discovery_rates, require_gseapy
from corpuscle.evaluation.task import Task
from corpuscle.model.families.official import content
from corpuscle.model.model import FittedModel, HasLoadings, Reconstructs
from corpuscle.source.genes import GeneSpace, unique_labels

TIED = Metric(
    "tied_latents",
    "Latents tied to a set",
    "Share of a model's latents whose loadings are enriched in at least one set, at a false discovery rate of 5 %.",
    "none",
    "share",
)
MISJUDGED = Metric(
    "misjudged_sets",
    "Sets misjudged",
    "Share of the sets that gene residuals are enriched in, at a false discovery rate of 5 %.",
    "lower",
    "share",
)
NES = Metric(
    "nes", "NES", "Normalised enrichment score of a set in a ranking of genes; positive: at its upper end.", "none"
)
P = Metric(
    "enrichment_p", "P", "How likely a random set as large is enriched as much, to the same side.", "none", "share"
)
FDR = Metric(
    "enrichment_fdr", "FDR", "False discovery rate over all sets and rankings of a model on a target.", "none", "share"
)
LEADING = Metric(
    "leading_edge",
    "Leading edge",
    "Share of a set's ranked genes that make up its enrichment; these are named as the reason.",
    "none",
    "share",
)
SIZE = Metric("set_size", "Genes of a set", "How many genes a set has.", "none", "positive")
RANKED = Metric("genes_ranked", "Genes found", "Share of a set's genes that are in a ranking.", "none", "share")
# At which a set counts as found; and at which its leading edge is written down (Subramanian et al. 2005).
FOUND_AT, LOOKED_AT = 0.05, 0.25
LOADINGS, RESIDUAL = "loadings", "residual"
# How many sets a message names.
NAMED = 5
NOT_RANKED = (
    "all the set's genes have the value 0, all ranked genes the same, or next to no random set goes to its side"
)


class Ranking(NamedTuple):
    """Genes in one or more orders.

    Attributes
    ----------
    names
        What each of the V vectors is called.
    values_VG
        What genes are ranked by, as many as are asked about.
    genes
        Their places among the study's genes, ascending.
    """

    names: list[str]
    values_VG: NDArray[np.float64]
    genes: NDArray[np.intp]


@component
class GeneSets(Task):
    """Find the sets of genes in which loadings of latents, and gene residuals, are enriched.

    Genes are ranked by each latent's loading (components of ``pca``, the decoder's weights of ``ldvae``), and by the
    residual of their mean over the target's cells, log1p of counted less log1p of expected counts per 10,000. Whether
    the genes of a set stand together at an end is asked by pre-ranked GSEA (Subramanian et al. 2005, weight 1) with
    P-values by multilevel sampling, none below 1e-20. A latent's sign means nothing: a set at either end is found.
    Random sets are of genes drawn one by one: genes that go up and down together anyway, as most sets', are enriched
    more often than by chance, which is so of all pre-ranked GSEA. Compare corpora by it, rather than to believe each P.

    Only genes with a count among the target's cells are ranked, and by loadings only those that some latent loads on:
    among genes that no cell has, any set of expressed genes stands apart. So do, to a lesser degree, sets whose genes
    are all highly expressed, where a latent's loadings depend on how much a gene is expressed at all. Rows:

    - `NES`, `P` and `FDR` of each vector and set (unit ``set=VECTOR: SET``; way ``loadings`` or ``residual``). The
      rate is Benjamini and Hochberg's over all sets and all vectors, loadings and residual together, of one model on
      one target: not over corpora, seeds, models or targets, so that one of twenty seeds may well find one by chance
      that the others do not;
    - `LEADING`, the leading edge, of sets with a rate of at most 25 %, and of each vector's best one; the genes are the
      row's ``reason``, those furthest from 0 first;
    - `SIZE` and `RANKED` of each set (unit ``gene_set=SET``);
    - `TIED` over all, of which no way is better: loadings of a model that learned little still depend on how much genes
      are expressed, and have sets for that; and `MISJUDGED`, lower is better.

    All rows of sets are gathered in ``gene_sets.csv`` of the report. It needs the extra ``gene-sets``.

    Parameters
    ----------
    sets
        A GMT file: a set a line, of its name, a description and its genes (symbols or Ensembl ids), parted by tabs.
        None: S and G2/M phase of the human cell cycle (Tirosh et al. 2016).
    min_size, max_size
        Sets with fewer, or more, genes in a ranking are not asked about in it.

    References
    ----------
    Subramanian et al. 2005, PNAS 102: 15545; Korotkevich et al. 2021, bioRxiv 060012; Nadig et al. 2025.
    """

    needs: ClassVar[Any] = HasLoadings | Reconstructs
    ability: ClassVar[str] = "have loadings or reconstruct counts"
    path_fields: ClassVar[tuple[str, ...]] = ("sets",)
    version: ClassVar[int] = 2
    metrics: ClassVar[tuple[Metric, ...]] = (TIED, MISJUDGED, NES, P, FDR, LEADING, SIZE, RANKED)

    sets: Annotated[str, Field(min_length=1)] | None = None
    min_size: Annotated[int, Field(ge=1, le=100_000)] = 10
    max_size: Annotated[int, Field(ge=1, le=100_000)] = 500

    @model_validator(mode="after")
    def _gseapy_is_there(self) -> "GeneSets":
        require_gseapy()
        if self.min_size > self.max_size:
            raise ValueError(f"min_size should be at most max_size (they are {self.min_size} and {self.max_size})")
        return self

    def identity(self) -> list[Any]:
        """Return plain data that differ where the settings, the code or the file of sets do."""
        spec, *rest = super().identity()
        return [spec | ({} if self.sets is None else {"sets": content(Path(self.sets))}), *rest]

    def check(self, space: GeneSpace) -> Iterator[str]:
        """Refuse sets that cannot be read or have no gene of the study's; see `Task.check`."""
        asked = self._read()
        found = find_sets(asked, space)
        if not any(one.n_found for one in found):
            raise ComponentError(f"sets: none of the study's genes is in any set; {why_none(asked, space)}")
        sizes = np.array([len(one.genes) for one in found])
        for said, far_S in (
            (f"fewer than {self.min_size} genes among the study's (min_size)", sizes < self.min_size),
            (f"more than {self.max_size} genes among the study's (max_size)", sizes > self.max_size),
        ):
            if far_S.any():
                names = [shortened(found[at].name, 40) for at in np.flatnonzero(far_S)]
                more = ", …" if len(names) > NAMED else ""
                yield (
                    f"{len(names)} of {len(found)} gene sets have {said}, and are not asked about: "
                    f"{', '.join(names[:NAMED])}{more}"
                )

    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        """Rank genes by loadings and residuals, and look for the sets; see `Task.run`."""
        if not isinstance(model, self.needs):
            raise ModelError(self.refusal)
        asked, seed, n_cells = self._read(), int(rng.integers(2**31)), len(target)
        sets = find_sets(asked, target.space)
        for one in sets:
            yield SIZE.score(f"gene_set={one.name}", float(one.n_genes), n_cells)
        mean_G = observed_mean(target)
        rankings = {LOADINGS: _by_loadings(model, mean_G > 0), RESIDUAL: _by_residual(model, target, mean_G)}
        tests = {
            way: _Tests.of(ranking, sets, (self.min_size, self.max_size), seed)
            for way, ranking in rankings.items()
            if ranking is not None
        }
        fdr_VS = _rates({way: found.p_VS for way, found in tests.items()})
        labels, known = unique_labels(target.space), any(one.n_found for one in sets)
        none = f"no set has {self.min_size} to {self.max_size} genes that are ranked (min_size, max_size)"
        if not known:
            none = f"no gene of the sets is known: {why_none(asked, target.space)}"
        for way, found in tests.items():
            yield from found.scores(way, fdr_VS[way], labels, n_cells)
        yield _over_all(TIED, fdr_VS.get(LOADINGS), n_cells, none, axis=1)
        yield _over_all(MISJUDGED, fdr_VS.get(RESIDUAL), n_cells, none, axis=0)

    def _read(self) -> tuple[GeneSet, ...]:
        return cell_cycle() if self.sets is None else read_gmt(Path(self.sets))


class _Tests(NamedTuple):
    """All sets in all orders of a ranking; `why` has for each set why it was not asked about, else nothing."""

    ranking: Ranking
    sets: list[FoundSet]
    n_ranked: list[int]
    why: list[str]
    found_VS: list[list[Enrichment]]
    p_VS: NDArray[np.float64]

    @classmethod
    def of(cls, ranking: Ranking, sets: list[FoundSet], limits: tuple[int, int], seed: int) -> "_Tests":
        """Look for sets whose size in the ranking is within limits."""
        n_genes, (fewest, most) = len(ranking.genes), limits
        within = [np.searchsorted(ranking.genes, np.intersect1d(one.genes, ranking.genes)) for one in sets]
        why = [_not_asked(len(genes), n_genes, fewest, most) for genes in within]
        asked = [at for at, said in enumerate(why) if not said]
        found_VS = []
        for value_G in ranking.values_VG:
            found_S = [NONE] * len(sets)
            for at, one in zip(asked, enrichments(value_G, [within[at] for at in asked], seed), strict=True):
                found_S[at] = one
            found_VS.append(found_S)
        p_VS = np.array([[one.p for one in row] for row in found_VS]).reshape(len(ranking.names), len(sets))
        return cls(ranking, sets, [len(genes) for genes in within], why, found_VS, p_VS)

    def scores(self, way: str, fdr_VS: NDArray[np.float64], labels: list[str], n_cells: int) -> Iterator[Score]:
        """Yield the rows of each set, and of each vector and set."""
        for one, n_ranked in zip(self.sets, self.n_ranked, strict=True):
            # A symbol that several genes have makes them more than the set has names.
            yield RANKED.score(f"gene_set={one.name}", min(1.0, n_ranked / one.n_genes), n_cells, way=way)
        for vector, found_S, fdr_S in zip(self.ranking.names, self.found_VS, fdr_VS, strict=True):
            best = _best(found_S)
            for at, (one, found, fdr) in enumerate(zip(self.sets, found_S, fdr_S.tolist(), strict=True)):
                unit = f"set={vector}: {one.name}"
                why = self.why[at] or ("" if np.isfinite(found.p) else NOT_RANKED)
                yield NES.score(unit, found.nes, n_cells, why, way)
                yield P.score(unit, found.p, n_cells, why, way)
                yield FDR.score(unit, fdr, n_cells, why, way)
                if fdr <= LOOKED_AT or at == best:
                    genes = ", ".join(labels[self.ranking.genes[gene]] for gene in found.leading)
                    yield LEADING.score(unit, len(found.leading) / self.n_ranked[at], n_cells, genes, way)


def _not_asked(n_ranked: int, n_genes: int, fewest: int, most: int) -> str:
    """Return why a set is not asked about; empty where it is."""
    if n_ranked < fewest:
        return f"{n_ranked} of the set's genes are in the ranking, fewer than {fewest} (min_size)"
    if n_ranked > most:
        return f"{n_ranked} of the set's genes are in the ranking, more than {most} (max_size)"
    return "all genes of the ranking are in the set" if n_ranked == n_genes else ""


def _best(found_S: list[Enrichment]) -> int:
    """Return which set is the surest, the one with the larger NES of several; -1 where none was asked about."""
    asked = [at for at, found in enumerate(found_S) if np.isfinite(found.p)]
    return min(asked, key=lambda at: (found_S[at].p, -abs(found_S[at].nes)), default=-1)


def _rates(p_VS: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Return false discovery rates over all ways together."""
    pooled = false_discovery_rates(np.concatenate([found.ravel() for found in p_VS.values()]))
    parts = np.split(pooled, np.cumsum([found.size for found in p_VS.values()])[:-1])
    return {way: part.reshape(found.shape) for (way, found), part in zip(p_VS.items(), parts, strict=True)}


def _by_loadings(model: FittedModel, counted_G: NDArray[np.bool_]) -> Ranking | None:
    """Rank by each latent's loadings; None where the model has none."""
    if not isinstance(model, HasLoadings):
        return None
    table = model.loadings()
    loading_GV = table.to_numpy(np.float64)
    # Genes on which nothing loads were not looked at by the model, as those that are not variable by PCA.
    kept_G = counted_G & np.any(loading_GV != 0, axis=1) & np.isfinite(loading_GV).all(axis=1)
    # The unit parts a vector's name from a set's by the first of these.
    names = [str(name).replace(": ", ":") for name in table.columns]
    return Ranking(names, loading_GV[kept_G].T, np.flatnonzero(kept_G))


def _by_residual(model: FittedModel, target: Corpus, mean_G: NDArray[np.float64]) -> Ranking | None:
    """Rank by the residual; None where the model reconstructs nothing."""
    if not isinstance(model, Reconstructs):
        return None
    residual_G = np.log1p(mean_G) - np.log1p(expected_mean(model, target))
    kept_G = (mean_G > 0) & np.isfinite(residual_G)
    return Ranking([RESIDUAL], residual_G[kept_G][None], np.flatnonzero(kept_G))


def _over_all(metric: Metric, fdr_VS: NDArray[np.float64] | None, n_cells: int, none: str, *, axis: int) -> Score:
    """Count what has a set, or a vector, along an axis; of those that were asked about."""
    if fdr_VS is None:
        lacks = "has no loadings" if metric is TIED else "does not reconstruct counts"
        return metric.score("all", float("nan"), n_cells, f"this model {lacks}")
    asked = np.atleast_1d(np.isfinite(fdr_VS).any(axis=axis))
    if not asked.any():
        return metric.score("all", float("nan"), n_cells, none)
    # NaN is never at most anything.
    found = np.atleast_1d((fdr_VS <= FOUND_AT).any(axis=axis))
    left_out = f"{int((~asked).sum())} of {len(asked)} sets could not be asked about"
    return metric.score("all", float(found[asked].mean()), n_cells, "" if asked.all() or metric is TIED else left_out)
