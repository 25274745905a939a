"""Mixing: a study of mixtures becomes ordinary studies, whose corpora are mixtures of its sources.

A mixture is an ordinary corpus: a part of each source, so many cells. All that runs studies, keeps results and shows
them therefore works on mixtures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from corpuscle.core.errors import InputError
from corpuscle.core.plain_toml import parse_toml
from corpuscle.core.text import shortened
from corpuscle.corpus.corpus import Corpus
from corpuscle.source import cell_filter
from corpuscle.study.in_python import as_toml
from corpuscle.study.mixture_checks import without_prior
from corpuscle.study.mixture_tables import MixtureSpec
from corpuscle.study.spec import Study

# What a study of mixtures has, and the studies that it becomes do not.
_OWN = ("mixture", "corpora", "baseline", "control", "seeds", "first_seed")


@dataclass(frozen=True)
class Ingredient:
    """What has a weight in mixtures: a source, or a group of its cells.

    Attributes
    ----------
    name
        Its name in tables of weights.
    source
        The source.
    only
        Which of the source's cells, as a filter on labels; None: all.
    cells
        How many cells it has for training.
    """

    name: str
    source: str
    only: str | None
    cells: int


@dataclass(frozen=True, eq=False)
class Mixing:
    """A study of mixtures, and what there is to mix.

    Attributes
    ----------
    study
        The study, with a ``[mixture]`` table.
    ingredients
        What has a weight, two or more.
    """

    study: Study
    ingredients: tuple[Ingredient, ...]

    @property
    def spec(self) -> MixtureSpec:
        """The study's ``[mixture]`` table."""
        found = self.study.spec.mixture
        assert found is not None, "made by mixing_of alone"
        return found

    @property
    def names(self) -> list[str]:
        """The names of what has a weight."""
        return [one.name for one in self.ingredients]

    @cached_property
    def cells(self) -> dict[str, int]:
        """How many cells each has for training."""
        return {one.name: one.cells for one in self.ingredients}

    def counts(self, weights: Mapping[str, float], n_cells: int | None = None) -> dict[str, int]:
        """Return how many cells of each a corpus of these weights has: whole numbers, nearest in sum.

        Parameters
        ----------
        weights
            Shares, or amounts, by name; what is not named has none.
        n_cells
            Cells of the corpus; None: as many as the study says.

        Raises
        ------
        InputError
            When a name is unknown, a weight is below 0, all are 0, or the cells, repeated, do not suffice.
        """
        n_cells = n_cells or self.spec.n_cells
        unknown = [name for name in weights if name not in self.cells]
        share_K = np.array([float(weights.get(name, 0.0)) for name in self.names])
        if unknown or not (np.isfinite(share_K) & (share_K >= 0)).all() or not share_K.sum():
            raise InputError(
                f"weights: expected numbers from 0 on, some above 0, of {shortened(', '.join(self.names))}; got "
                f"{shortened(repr(dict(weights)))}"
            )
        # Rounded, so that equal shares have equal remainders, however they were found.
        exact_K = np.round(share_K / share_K.sum() * n_cells, 9)
        most_K = np.array([one.cells for one in self.ingredients]) * self.spec.most_repeats
        if short := [name for name, n, most in zip(self.names, exact_K, most_K, strict=True) if n > most + 0.5]:
            raise InputError(
                f"weights: {shortened(short[0])} has {self.cells[short[0]]:,} cells, each at most "
                f"{self.spec.most_repeats} times: too few for its share of {n_cells:,} cells"
            )
        count_K = np.minimum(np.floor(exact_K + 1e-9).astype(np.int64), most_K)
        # Largest remainders first, of what has room.
        for at in np.argsort(-np.where(count_K < most_K, exact_K - count_K, -1), kind="stable")[
            : n_cells - int(count_K.sum())
        ]:
            count_K[at] += 1
        return dict(zip(self.names, count_K.tolist(), strict=True))

    def corpus(self, name: str, weights: Mapping[str, float], n_cells: int | None = None) -> dict[str, Any]:
        """Return a mixture as a table of ``[[corpora]]``; see `counts`."""
        parts: list[dict[str, Any]] = []
        for one, n in zip(self.ingredients, self.counts(weights, n_cells).values(), strict=True):
            if n:
                only = {} if one.only is None else {"only": one.only}
                repeats = {"repeats": self.spec.most_repeats} if n > one.cells else {}
                parts.append({"source": one.source, "n_cells": n, **only, **repeats})
        return {"name": name, "parts": parts}

    def expand(
        self,
        corpora: Sequence[Mapping[str, Any]],
        *,
        models: Sequence[Mapping[str, Any]] | None = None,
        seeds: int = 1,
        first_seed: int = 0,
        question: str = "",
    ) -> Study:
        """Return an ordinary study of some mixtures: the same sources, hold-outs and tasks.

        Parameters
        ----------
        corpora
            Tables of ``[[corpora]]``, such as `corpus` returns.
        models
            Tables of ``[[models]]``; None: the study's.
        seeds, first_seed, question
            As in a study file.
        """
        return expanded(self.study, corpora, models=models, seeds=seeds, first_seed=first_seed, question=question)


def expanded(  # noqa: PLR0913  # all but two by name
    study: Study,
    corpora: Sequence[Mapping[str, Any]],
    *,
    models: Sequence[Mapping[str, Any]] | None = None,
    seeds: int = 1,
    first_seed: int = 0,
    question: str = "",
    sources: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Study:
    """Return an ordinary study of a study of mixtures, with more sources if any are given; see `Mixing.expand`.

    A source that is added may be an AnnData object, or have one as its ``path``.
    """
    tables = {name: table for name, table in parse_toml(study.text).items() if name not in _OWN}
    tables |= {"corpora": [*corpora], "seeds": seeds, "sources": {**tables["sources"], **sources}}
    tables |= {"first_seed": first_seed} if first_seed else {}
    tables |= {"models": [*models]} if models is not None else {}
    tables |= {"question": question} if question else {}
    text, given = as_toml(tables)
    return Study.parse(text, study.folder).derived_from(study, given)


def whole_pools(study: Study) -> Study:
    """Return an ordinary study of one corpus, all training cells of all that is mixed: by it the data are checked."""
    spec = study.spec.mixture
    assert spec is not None, "the caller has looked"
    return expanded(study, [{"name": "all", "parts": [{"source": name, "fraction": 1.0} for name in mixed_of(study)]}])


def mixed_of(study: Study) -> list[str]:
    """Return the sources that are mixed, whole or in groups."""
    spec = study.spec.mixture
    assert spec is not None, "the caller has looked"
    grouped = [one.source for one in spec.groups]
    whole = spec.sources if spec.sources is not None else [] if grouped else [*study.spec.sources]
    return [*dict.fromkeys([*whole, *grouped])]


def mixing_of(study: Study, pools: Mapping[str, Corpus]) -> Mixing:
    """Find what there is to mix.

    Parameters
    ----------
    study
        A study with a ``[mixture]`` table.
    pools
        The cells of each source that training may use; `corpuscle.study.plan.Plan.pools`.

    Raises
    ------
    InputError
        When there are fewer than two ingredients, a source has no such label, or the prior is of others, or not of all.
    """
    spec = study.spec.mixture
    if spec is None:
        raise InputError("expected a study with a [mixture] table, which says what to mix")
    groups = {one.source: one.by for one in spec.groups}
    found: list[Ingredient] = []
    for source in mixed_of(study):
        pool = pools[source]
        found += _groups(source, groups[source], pool) if source in groups else [
            Ingredient(source, source, None, len(pool))
        ]  # fmt: skip
    if len(found) < 2:
        named = shortened(", ".join(one.name for one in found)) or "none"
        raise InputError(
            f"mixture: expected two sources or more, or groups of one; got {named}. One source has no mixtures"
        )
    if wrong := [name for name in spec.prior if name not in {one.name for one in found}]:
        raise InputError(
            f"mixture.prior: there is no source {shortened(wrong[0])!r} to mix; there are "
            f"{shortened(', '.join(one.name for one in found))}"
        )
    if spec.prior and (lacking := [one.name for one in found if one.name not in spec.prior]):
        raise InputError(f"mixture.prior: {without_prior(lacking)}")
    return Mixing(study, tuple(found))


def _groups(source: str, by: str, pool: Corpus) -> list[Ingredient]:
    """Return a source's groups by a label; cells without one are in none."""
    if by not in pool.cells:
        known = shortened(", ".join(map(str, pool.cells.columns)))
        raise InputError(f"mixture.groups: source {source!r} has no label {by!r}; there are {known}")
    values, counts = np.unique(pool.labels(by), return_counts=True)
    column = by if by.isidentifier() else f"`{by}`"
    return [
        Ingredient(f"{source}: {value}", source, f"{column} == {value!r}", int(n))
        for value, n in zip(values.tolist(), counts.tolist(), strict=True)
        if value
    ]


def pool_of(one: Ingredient, pools: Mapping[str, Corpus]) -> Corpus:
    """Return an ingredient's cells that training may use, given those of each source."""
    pool = pools[one.source]
    return pool if one.only is None else pool.take(cell_filter.matches(one.only, pool.cells))


def weights_table(mixing: Mixing, mixtures: pd.DataFrame) -> pd.DataFrame:
    """Return mixtures as they can be drawn, whole cells of each: the weights that scores are of."""
    rows = [mixing.counts(row.to_dict()) for _, row in mixtures.iterrows()]
    return pd.DataFrame(rows, index=mixtures.index, columns=mixing.names) / mixing.spec.n_cells
