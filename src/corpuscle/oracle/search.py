"""Search: runs the stages of a study of mixtures, one after the other, each of what those before have shown."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from corpuscle.core.errors import InputError, ModelError
from corpuscle.mixture import Assessment, FittedMixture, assess, contest, front, next_runs
from corpuscle.mixture.agreement import Agreement, agreement
from corpuscle.mixture.assessing import UTILITY
from corpuscle.mixture.confirmation import COLUMNS, confirm
from corpuscle.mixture.forecast import forecast
from corpuscle.mixture.gate import calmest, gate, merit
from corpuscle.oracle.history import History
from corpuscle.oracle.outputs import Output
from corpuscle.oracle.stages import Stage, Stages, joined
from corpuscle.study.mixture_checks import CONFIRMED, TRANSFERRED

# Runs a stage, and returns its scores, how its fits were checked, and how many trainings failed; or measures it.
RunsStage = Callable[[Stage], tuple[pd.DataFrame, pd.DataFrame, Mapping[str, str]]]
Measures = Callable[[Stage], pd.DataFrame]


@dataclass
class Search:
    """What a search has found, stage by stage; see `searched`.

    Attributes
    ----------
    stages
        What makes the stages.
    history
        All trials.
    forecast
        Mixtures by their mean rank before training.
    settings
        The gate's table; empty without a gate.
    proxy
        The setting that was taken.
    assessment
        What all trials say; None: they allow no fit.
    regrets
        Before each round, how much utility the best may lack.
    contenders
        The recommended mixture and those that tie with it, by name.
    ends
        With a front, the two outputs that trade most, and the contender that is best for each.
    rivals
        Which mixture stands for natural, uniform, and so on.
    confirmed
        Comparisons with fresh seeds.
    agreements
        Ranks of another setting and of another model, against the proxy's.
    failures
        What went wrong, by stage and training.
    reasons
        Why there is no advice.
    n_runs
        Trainings that were asked for, by stage.
    """

    stages: Stages
    history: History
    forecast: pd.DataFrame = field(default_factory=pd.DataFrame)
    settings: pd.DataFrame = field(default_factory=pd.DataFrame)
    proxy: Mapping[str, Any] = field(default_factory=dict)
    assessment: Assessment | None = None
    regrets: list[float] = field(default_factory=list)
    contenders: list[str] = field(default_factory=list)
    ends: dict[str, str] = field(default_factory=dict)
    rivals: dict[str, str] = field(default_factory=dict)
    confirmed: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*COLUMNS]))
    agreements: dict[str, Agreement] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    n_runs: dict[str, int] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The proxy's label."""
        return str(self.proxy["label"])

    @property
    def searched(self) -> list[str]:
        """The stages whose trials are learnt from."""
        return [name for name in self.n_runs if name in ("gate", "design") or name.startswith("round-")]

    def trials(self) -> pd.DataFrame:
        """Return the proxy's trials of the stages that are learnt from."""
        return self.history.trials(self.label, self.searched)

    def run(self, stage: Stage, runs: RunsStage) -> None:
        """Run a stage and take in what it left."""
        self.n_runs[stage.name] = stage.n_runs
        scores, fits, failures = runs(stage)
        self.failures |= {f"{stage.name}: {what}": why for what, why in failures.items()}
        self.history.add(stage, scores, fits)


def searched(stages: Stages, outputs: Sequence[Output], runs: RunsStage, measures: Measures) -> Search:
    """Do all stages.

    Parameters
    ----------
    stages
        What makes them.
    outputs
        What counts.
    runs, measures
        Run a stage, and measure its corpora; what they return for equal stages must be equal.
    """
    search = Search(stages, History(outputs, stages.spec.combine))
    targets: dict[str, float] = {}
    for one in outputs:
        targets[one.target] = targets.get(one.target, 0.0) + one.weight
    seen = stages.forecast()
    search.history.mixtures = seen.mixtures
    search.forecast = forecast(measures(seen), targets)
    search.proxy = _gated(search, runs)
    search.run(stages.design(search.proxy), runs)
    held = set(stages.designed[1].index)
    for at in range(1, stages.spec.rounds + 1 if stages.per_round else 1):
        fitted = _fitted(search, held)
        if fitted is None or not _goes_on(search, fitted, at, runs):
            break
    _judge(search)
    if search.assessment is not None and not search.assessment.abstains:
        _confirm(search, held, runs)
        _transfer(search, runs)
    return search


def _gated(search: Search, runs: RunsStage) -> Mapping[str, Any]:
    """Return the calmest of the proxy's settings."""
    stage = search.stages.gate()
    if stage is None:
        return search.stages.settings[0]
    search.run(stage, runs)
    history = search.history
    weights = {one.name: one.weight for one in history.outputs if one.name in history.better}
    if weights:
        search.settings = gate(history.trials(stages=["gate"]), history.better, weights, worst=history.worst)
    label = calmest(search.settings) if len(search.settings) else None
    if label is None:
        first = next(iter(search.failures.values()), "no two seeds of a mixture have scores of all that counts")
        raise ModelError(
            f"the gate: none of {len(search.stages.settings)} settings of the proxy gave scores to choose by "
            f"({first}); give proxy other settings, or utility what the proxy can answer"
        )
    return next(setting for setting in search.stages.settings if setting["label"] == label)


def _fitted(search: Search, without: set[str]) -> FittedMixture | None:
    """Fit what is known, but of mixtures that are held out; None where it is too little."""
    trials = search.trials()
    try:
        return search.history.fitted(trials[~trials["mixture"].isin(without)])
    except InputError:
        return None


def _goes_on(search: Search, fitted: FittedMixture, at: int, runs: RunsStage) -> bool:
    """Run a round, if the best may still lack more than is tolerated; return whether it was run."""
    stages, utility = search.stages, search.history.utility
    look = front if utility.pareto else contest
    try:
        found = look(fitted, utility, rng=stages.rng("contest", at), caps=stages.caps, also=stages.usual)
        search.regrets.append(found.regret())
        if search.regrets[-1] <= stages.spec.tolerance:
            return False
        chosen = next_runs(
            fitted, stages.per_round, utility, rng=stages.rng("round", at), caps=stages.caps, repeats=stages.n_again
        )
    except InputError:
        # Nothing counts of which there are scores: the assessment says so.
        return False
    search.run(stages.round(at, chosen, search.history.mixtures, search.proxy), runs)
    return True


def _judge(search: Search) -> None:
    """Assess all trials, held-out mixtures among them."""
    fitted = _fitted(search, set())
    if fitted is None:
        search.reasons.append(f"{_known(search)} of the mixtures have scores: too few to learn from")
        return
    stages = search.stages
    try:
        search.assessment = assess(
            fitted, search.history.utility, caps=stages.caps, also=stages.usual, seed=stages.first_seed
        )
    except InputError as error:
        search.reasons.append(str(error))
        return
    if search.assessment.abstains:
        search.reasons.append(search.assessment.advice.removeprefix("No advice: ").rstrip("."))


def _known(search: Search) -> int:
    trials = search.trials()
    names = [one.name for one in search.history.outputs]
    return int(trials.loc[trials[names].notna().any(axis=1), "mixture"].nunique())


def _confirm(search: Search, held: set[str], runs: RunsStage) -> None:
    """Compare what was chosen with its rivals, on seeds that no stage before had."""
    stages, found = search.stages, search.assessment
    assert found is not None, "the caller has looked"
    credible = credible_set(search, found)[stages.mixing.names].iloc[:CONFIRMED]
    search.contenders = [str(name) for name in credible.index]
    ends = {output: str(drawn(search, found, name).index[0]) for output, name in found.traded.items()}
    # Whole cells may make one mixture of both.
    search.ends = ends if len(set(ends.values()) & set(search.contenders)) == 2 else {}
    search.rivals = _rivals(search, held)
    known = joined(search.history.mixtures, stages.usual, stages.singles)
    known = known[~known.index.duplicated()]
    wanted = list(dict.fromkeys([*search.contenders, *search.rivals.values()]))
    mixtures = joined(credible, known.loc[[name for name in wanted if name not in credible.index]])
    search.run(stages.confirmation(mixtures, known, search.proxy), runs)
    trials = search.history.trials(search.label, ["confirmation"])
    trials[UTILITY] = search.history.utilities(found.fitted, trials)
    names = {name: search.history.better[name] for name in found.fitted.table.outputs}
    rivals = list(dict.fromkeys(search.rivals.values()))
    search.confirmed = confirm(trials, search.contenders, rivals, {UTILITY: "higher", **names})
    if len(ends := search.ends) == 2:
        # The ends of the front against each other, in what they trade: both have to hold.
        traded = confirm(trials, [*ends.values()], [*ends.values()], {name: names[name] for name in ends})
        search.confirmed = pd.concat([search.confirmed, traded], ignore_index=True)


def credible_set(search: Search, found: Assessment) -> pd.DataFrame:
    """Return the mixtures that tie with the best as they can be drawn, each once, under their names.

    The columns are those of `Assessment.credible`; the best new mixture is called ``recommended``.
    """
    sources = search.stages.mixing.names
    rows: dict[str, pd.Series] = {}
    for name, row in found.credible.iterrows():
        one = drawn(search, found, str(name))
        rows.setdefault(str(one.index[0]), pd.concat([row.drop(sources), one.iloc[0]]))
    return pd.DataFrame(list(rows.values()), list(rows), list(found.credible.columns))


def drawn(search: Search, found: Assessment, name: str) -> pd.DataFrame:
    """Return a mixture of the credible set as it can be drawn, under the name by which it is known."""
    row = found.credible.loc[name, search.stages.mixing.names]
    one = pd.DataFrame([row], ["recommended" if name == "best new" else name]).astype(float)
    return search.stages.drawable(one, search.history.mixtures)


def _rivals(search: Search, held: set[str]) -> dict[str, str]:
    """Return which mixture stands for what a choice has to beat."""
    stages, found = search.stages, search.assessment
    assert found is not None, "the caller has looked"
    usual, singles = stages.usual, stages.singles
    rivals = {name: name for name in ("natural", "uniform", "prior") if name in usual.index}
    # Of a source that no training had, nothing is expected.
    known = singles.loc[(singles.to_numpy()[:, ~found.fitted.table.used_K] <= 0).all(axis=1)]
    expected = search.history.utility.of(found.fitted.table, found.fitted.means(known.to_numpy()))
    if np.isfinite(expected).any():
        rivals["best single source"] = str(known.index[int(np.nanargmax(expected))])
    if len(search.forecast):
        rivals["forecast"] = str(search.forecast.index[0])
    trials = search.trials()
    drawn = trials[trials["mixture"].isin(held) | trials["mixture"].str.startswith("mixed ")]
    if len(drawn):
        means = pd.Series(search.history.utilities(found.fitted, drawn), drawn["mixture"].to_numpy()).groupby(level=0)
        if (mean := means.mean().dropna()).size:
            rivals["best random"] = str(mean.idxmax())
    return rivals


def _transfer(search: Search, runs: RunsStage) -> None:
    """Ask another setting of the proxy, and another model, about a handful of mixtures."""
    stages, found = search.stages, search.assessment
    assert found is not None, "the caller has looked"
    models = {}
    if other := _other_setting(search):
        models["another setting of the proxy"] = other
    if (named := stages.spec.transfer) is not None:
        table = next(one for one in stages.mixing.study.spec.models if (one.label or one.name) == named)
        models[f"the model {named}"] = {"name": table.name, **table.parameters, "label": named}
    if not models:
        return
    trials = search.history.trials(search.label, ["design"])
    utility = pd.Series(search.history.utilities(found.fitted, trials), trials["mixture"].to_numpy())
    means = utility.groupby(level=0, sort=False).mean().dropna().sort_values()
    # From the worst to the best, evenly: extremes alone would be ranked alike by anything.
    at = np.unique(np.linspace(0, len(means) - 1, min(TRANSFERRED, len(means))).round().astype(int))
    chosen = search.history.mixtures.loc[means.index[at]]
    search.run(stages.transfer(chosen, search.history.mixtures, [*models.values()]), runs)
    here = trials[trials["mixture"].isin(chosen.index)]
    for what, model in models.items():
        others = search.history.trials(str(model["label"]), ["transfer"])
        # What trades off may leave nothing to rank in the mean: its two outputs are asked about one by one.
        asked: list[str | None] = [*search.ends]
        for output in asked or [None]:
            named = what if output is None else f"{what}, in {output},"
            search.agreements[named] = agreement(_merits(search, here, output), _merits(search, others, output))


def _merits(search: Search, trials: pd.DataFrame, output: str | None = None) -> "pd.Series[float]":
    """Return how good mixtures are to one model, by name: its outputs may have another level than the proxy's."""
    history = search.history
    weights = {one.name: one.weight for one in history.outputs if one.name in history.better}
    weights = weights if output is None else {output: 1.0}
    value = merit(trials, history.better, weights, worst=history.worst)
    return value.groupby(trials["mixture"], sort=False).mean().dropna()


def _other_setting(search: Search) -> Mapping[str, Any] | None:
    """Return another setting of the proxy that differs in its learning rate, or if none does, in anything."""
    others = [one for one in search.stages.settings if one["label"] != search.label]
    rates = [one for one in others if one.get("learning_rate") != search.proxy.get("learning_rate")]
    alike = [one for one in rates if _but_rate(one) == _but_rate(search.proxy)]
    calm = search.settings["calm"] if len(search.settings) else pd.Series(dtype=float)
    found = alike or rates or others
    return max(found, key=lambda one: _or_least(calm.get(str(one["label"])))) if found else None


def _but_rate(setting: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in setting.items() if key not in ("learning_rate", "label")}


def _or_least(value: Any) -> float:
    return float(value) if value is not None and math.isfinite(value) else -math.inf


def stage_folder(folder: Path, stage: Stage) -> Path:
    """Return where a stage is run."""
    return folder / "stages" / stage.name
