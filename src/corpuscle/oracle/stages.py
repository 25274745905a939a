"""Stages: which mixtures are trained when, as functions of the study and of what the stages before have shown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from corpuscle.core.randomness import generator
from corpuscle.mixture import baselines, caps_of, design
from corpuscle.mixture.simplex import checked_caps, dirichlet, within
from corpuscle.oracle.corpus_name import corpus_name
from corpuscle.study.mixing import Mixing, weights_table
from corpuscle.study.mixture_checks import GATE_SEEDS, costs_of, settings_of
from corpuscle.study.spec import Study

# Mixtures that only the forecast looks at, besides those of the design.
N_FORECAST = 24
# Of mixtures that are drawn to be held out, so many are drawn for each; the largest weight of those that are taken.
DRAWN_FOR_HELD_OUT, MOST_HELD_OUT = 6, 0.9
# Of a round, the part that repeats contenders.
AGAIN = 1 / 3


@dataclass(frozen=True, eq=False)
class Stage:
    """One stage: mixtures, models and seeds, which make an ordinary study.

    Attributes
    ----------
    name
        Its folder's name.
    purpose
        What it is for, in words.
    mixtures
        Names × ingredients: weights that can be drawn.
    models
        Tables of ``[[models]]``.
    seeds
        Which.
    """

    name: str
    purpose: str
    mixtures: pd.DataFrame
    models: tuple[Mapping[str, Any], ...]
    seeds: range

    @property
    def n_runs(self) -> int:
        """Trainings that it asks for."""
        return len(self.mixtures) * len(self.models) * len(self.seeds)

    def study(self, mixing: Mixing) -> Study:
        """Return the stage as an ordinary study."""
        tables = [mixing.corpus(str(name), row.to_dict()) for name, row in self.mixtures.iterrows()]
        return mixing.expand(
            tables, models=self.models, seeds=len(self.seeds), first_seed=self.seeds.start,
            question=f"{self.purpose} A stage of `corpuscle recommend`.",
        )  # fmt: skip


class Stages:
    """Makes the stages of a study of mixtures.

    Parameters
    ----------
    mixing
        The study, and what there is to mix.

    Attributes
    ----------
    caps
        The largest weight of each ingredient: by its cells and their repeats, and by how far the prior may be left.
    natural
        Weights in proportion to cells.
    prior
        Where `leave_prior` is measured from: the study's, or natural.

    Raises
    ------
    InputError
        When no mixture is within the caps.
    """

    def __init__(self, mixing: Mixing) -> None:
        self.mixing, self.spec = mixing, mixing.spec
        study, spec = mixing.study, mixing.spec
        self.settings = settings_of(study.spec.models, spec)
        self.costs = costs_of(spec, len(self.settings))
        self.first_seed = study.spec.first_seed
        total = sum(mixing.cells.values())
        self.natural = {name: n / total for name, n in mixing.cells.items()}
        given = spec.prior or self.natural
        self.prior = {name: given[name] / sum(given.values()) for name in mixing.names}
        self.caps = caps_of(mixing.cells, spec.n_cells, spec.most_repeats)
        if spec.leave_prior is not None:
            # Whole cells, so that what is drawn of a mixture within the caps is within them, too.
            most = {name: math.ceil(spec.leave_prior * one * spec.n_cells - 1e-9) for name, one in self.prior.items()}
            self.caps = {name: min(cap, most[name] / spec.n_cells) for name, cap in self.caps.items()}
        to_do = "raise leave_prior or most_repeats, or lower n_cells"
        self._caps_K = checked_caps(self.caps, tuple(mixing.names), to_do)

    @cached_property
    def usual(self) -> pd.DataFrame:
        """Mixtures that need no runs: natural, uniform, temperature, UniMax, and the prior where one was given."""
        found = baselines(self.mixing.cells, caps=self.caps)
        if self.spec.prior:
            found.loc["prior"] = within(np.array([[self.prior[name] for name in self.mixing.names]]), self._caps_K)[0]
        return self.drawable(found)

    @cached_property
    def singles(self) -> pd.DataFrame:
        """Each ingredient alone, as far as its cap lets it be; what is left has the others in natural proportions."""
        return self._singles(self.mixing.names)

    def _singles(self, names: Sequence[str]) -> pd.DataFrame:
        natural_K = np.array([self.natural[name] for name in self.mixing.names])
        single_NK = np.eye(len(natural_K))[[self.mixing.names.index(name) for name in names]]
        found = within(single_NK + 1e-6 * natural_K, self._caps_K)
        found = np.where(found < 1e-5, 0.0, found)
        return self.drawable(pd.DataFrame(found, [f"only {name}" for name in names], self.mixing.names))

    def drawable(self, mixtures: pd.DataFrame, known: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return mixtures as whole cells make them, each once, under the name by which an equal one is known."""
        table, names = weights_table(self.mixing, mixtures), dict[tuple[float, ...], str]()
        for name, row in (known if known is not None else table.iloc[:0]).iterrows():
            names.setdefault(_key(row), str(name))
        taken = {name.casefold() for name in names.values()}
        found: dict[str, pd.Series] = {}
        for name, row in table.iterrows():
            if (key := _key(row)) not in names:
                names[key] = corpus_name(str(name), taken)
            found.setdefault(names[key], row)
        return pd.DataFrame(list(found.values()), list(found), self.mixing.names)

    def rng(self, *names: str | int) -> np.random.Generator:
        """Return the generator of a purpose."""
        return generator(self.first_seed, "recommend", *names)

    @cached_property
    def designed(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The mixtures to learn from, and those to test on."""
        n = self.spec.held_out
        found = design(
            self.mixing.names, self.spec.mixtures, rng=self.rng("design"), n_held_out=DRAWN_FOR_HELD_OUT * n,
            caps=self.caps, natural=self.mixing.cells,
        )  # fmt: skip
        runs = self._filled(self.drawable(found.runs, joined(self.usual, self.singles)))
        # Interior ones: what is nearly a single source says little of mixtures, and may be one of those learnt from.
        interior = found.held_out[found.held_out.max(axis=1) <= MOST_HELD_OUT]
        held = self.drawable(interior, joined(self.usual, self.singles, runs))
        held = held.loc[[name for name in held.index if name.startswith("held out ")]].iloc[:n]
        return runs, held.set_axis([f"held out {at + 1}" for at in range(len(held))])

    def _filled(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Add drawn mixtures to a design of which whole cells made one of several, as far as there are others."""
        if len(runs) >= (n := self.spec.mixtures):
            return runs
        drawn = dirichlet(self.rng("design", "more"), N_FORECAST, self._caps_K)
        more = pd.DataFrame(drawn, [f"mixed {n + at + 1}" for at in range(len(drawn))], self.mixing.names)
        known = joined(self.usual, self.singles, runs)
        table = self.drawable(more, known)
        return joined(runs, table[~table.index.isin(known.index)].iloc[: n - len(runs)])

    def forecast(self) -> Stage:
        """Return what the forecast looks at: usual mixtures, those of the design, and others; nothing is trained."""
        runs, held = self.designed
        drawn = dirichlet(self.rng("forecast"), N_FORECAST, self._caps_K)
        others = pd.DataFrame(drawn, [f"candidate {at + 1}" for at in range(N_FORECAST)], self.mixing.names)
        known = joined(self.usual, self.singles, runs, held)
        mixtures = self.drawable(joined(known, others), known)
        purpose = "How near are mixtures to the targets, before anything is trained?"
        return Stage("forecast", purpose, mixtures, tuple(self.settings[:1]), self._seeds(1))

    def gate(self) -> Stage | None:
        """Return natural, uniform and two single sources with every setting of the proxy; None where there is one."""
        if len(self.settings) < 2:
            return None
        largest = sorted(self.mixing.names, key=lambda name: -self.mixing.cells[name])[:2]
        usual = self.usual
        plain = usual.loc[[name for name in ("natural", "uniform") if name in usual.index]]
        mixtures = joined(plain, self._singles(largest))
        purpose = "Which of the proxy's settings is calm enough to tell mixtures apart?"
        return Stage("gate", purpose, self.drawable(mixtures, usual), tuple(self.settings), self._seeds(GATE_SEEDS))

    def design(self, proxy: Mapping[str, Any]) -> Stage:
        """Return the mixtures to learn from and to test on."""
        purpose = "How do scores depend on the mixture?"
        return Stage("design", purpose, joined(*self.designed), (proxy,), self._seeds(self.spec.seeds))

    @property
    def per_round(self) -> int:
        """Mixtures of a round; 0: the budget leaves none."""
        return self.costs.rounds // self.spec.rounds // self.spec.seeds if self.costs.rounds else 0

    @property
    def n_again(self) -> int:
        """How many of a round's mixtures repeat contenders."""
        return max(1, math.floor(AGAIN * self.per_round)) if self.per_round > 1 else 0

    def round(self, at: int, mixtures: pd.DataFrame, known: pd.DataFrame, proxy: Mapping[str, Any]) -> Stage:
        """Return a round of mixtures that may be better, and contenders again; `at` is counted from 1."""
        named = mixtures.set_axis([f"round {at}, {name}" for name in mixtures.index])
        after = max(GATE_SEEDS, self.spec.seeds) + (at - 1) * self.spec.seeds
        purpose = "Which mixtures may be better than all so far?"
        return Stage(
            f"round-{at}", purpose, self.drawable(named, known), (proxy,), self._seeds(self.spec.seeds, after)
        )  # fmt: skip

    def confirmation(self, mixtures: pd.DataFrame, known: pd.DataFrame, proxy: Mapping[str, Any]) -> Stage:
        """Return what was chosen and its rivals, with seeds that no stage before had."""
        after = max(GATE_SEEDS, self.spec.seeds) + self.spec.rounds * self.spec.seeds
        purpose = "Is what was chosen better than its rivals, with fresh seeds, and cells drawn anew?"
        return Stage(
            "confirmation", purpose, self.drawable(mixtures, known), (proxy,),
            self._seeds(self.spec.confirm_seeds, after),
        )  # fmt: skip

    def transfer(self, mixtures: pd.DataFrame, known: pd.DataFrame, models: Sequence[Mapping[str, Any]]) -> Stage:
        """Return a handful of mixtures with another model, and with another setting of the proxy."""
        purpose = "Are the proxy's ranks those of another model, and of another learning rate?"
        mixtures = self.drawable(mixtures, known)
        return Stage("transfer", purpose, mixtures, tuple(models), self._seeds(self.spec.seeds))

    def _seeds(self, n: int, after: int = 0) -> range:
        return range(self.first_seed + after, self.first_seed + after + n)


def joined(*mixtures: pd.DataFrame) -> pd.DataFrame:
    """Return tables of mixtures as one; pandas warns of joining tables without rows."""
    filled = [one for one in mixtures if len(one)]
    return pd.concat(filled) if filled else mixtures[0]


def _key(row: "pd.Series[float]") -> tuple[float, ...]:
    return tuple(np.round(row.to_numpy(float), 9).tolist())
