"""Cells: an AnnData's as a corpus, which is what samplers, measures, models and tasks are given."""

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from anndata import AnnData

from corpuscle.core.components import Component, build
from corpuscle.core.errors import InputError, SourceError
from corpuscle.core.randomness import given_generator
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.imputer import model_imputer
from corpuscle.source.genes import GeneSpace, gene_space
from corpuscle.source.in_memory import place_of
from corpuscle.source.quality import survey
from corpuscle.source.source import Source, open_source

C = TypeVar("C", bound=Component)
Rng = np.random.Generator | int
# What the cells of an AnnData are said to be from.
SOURCE = "adata"


def as_corpus(
    adata: AnnData,
    *,
    layer: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> Corpus:
    """Return an AnnData's cells as a corpus: what samplers, measures, models and tasks are given.

    Parameters
    ----------
    adata, layer, labels
        As for `sample`; labels were checked.

    Raises
    ------
    InputError
        When there are no raw counts, or a column is not there.
    """
    source = opened_cells(SOURCE, adata, layer, labels)
    return corpus_of(source, gene_space({SOURCE: source.gene_names}))


def corpora_of(
    adatas: Mapping[str, AnnData], *, layer: str | None, labels: Mapping[str, str] | None
) -> dict[str, Corpus]:
    """Return several AnnDatas as corpora in one gene space: the genes that all have."""
    opened = {name: opened_cells(name, adata, layer, labels) for name, adata in adatas.items()}
    space = gene_space({name: source.gene_names for name, source in opened.items()})
    return {name: corpus_of(source, space) for name, source in opened.items()}


def settled(kind: type[C], named: str | C, settings: Mapping[str, Any]) -> C:
    """Return the component of a name and settings; itself, where it was built already."""
    if isinstance(named, kind):
        if settings:
            raise InputError(f"{kind.kind} {named.name!r} has its settings already: {', '.join(settings)}; give either")
        return named
    if not isinstance(named, str):
        raise InputError(f"expected the name of a {kind.kind}, or one that was built; got a {type(named).__name__}")
    return build(kind, named, settings)


def opened_cells(name: str, adata: AnnData, layer: str | None, labels: Mapping[str, str] | None) -> Source:
    """Open an AnnData's cells as a source of a name; see `as_corpus`."""
    try:
        return open_source(name, adata, counts=place_of(adata, layer), roles=labels)
    except SourceError as error:
        raise SourceError(f"{name}: {error}") from error


def corpus_of(source: Source, space: GeneSpace) -> Corpus:
    """Return a source's cells as a corpus; what is no raw counts is refused."""
    survey(source, space)
    cells = source.cells.copy()
    cells.insert(0, "source", source.name)
    cells.insert(3, "times", 1)
    return Corpus(source.name, cells, {source.name: source.reader}, space)


def context_of(corpus: Corpus) -> Context:
    """Return what samplers and alterations are given in addition to the cells: these alone."""
    return Context({SOURCE: corpus}, imputer=model_imputer)


def seed_of(rng: Rng) -> int:
    """Return a seed that a generator draws: the same one for a seed and for a new generator of that seed."""
    return int(given_generator(rng).integers(2**31))
