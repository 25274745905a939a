"""What can be wrong with a study of mixtures before its data are opened, and what its stages come to."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple, Protocol

from corpuscle.core.components import legal_names
from corpuscle.core.scores import IN_PLACE
from corpuscle.core.text import shortened
from corpuscle.evaluation.task import Task
from corpuscle.study.mixture_tables import MixtureSpec, UtilitySpec
from corpuscle.study.tables import LONGEST_NAME, ModelSpec, StudySpec

# Of the gate: mixtures (natural, uniform, two single sources), and seeds of each.
GATE_MIXTURES, GATE_SEEDS = 4, 3
# Mixtures that are confirmed: three of the credible set, and natural, uniform, the best single source, the forecast's
# pick, the best of random ones.
CONFIRMED, RIVALS = 3, 5
# Scores that can be traded off.
FEWEST_OF_FRONT = 2
# Mixtures by which another model, or another setting of the proxy, is asked for its ranks.
TRANSFERRED = 8


class Asked(Protocol):
    """A task under its label, with its targets."""

    @property
    def label(self) -> str:
        """Its label."""

    @property
    def task(self) -> Task:
        """The task."""

    @property
    def targets(self) -> tuple[str, ...]:
        """What it is asked on."""

    @property
    def headline(self) -> tuple[str, str]:
        """The metric and way that reports lead with; empty where none is named."""


class Costs(NamedTuple):
    """How many trainings each stage takes at most."""

    gate: int
    design: int
    rounds: int
    confirmation: int
    transfer: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def proxy_of(models: Sequence[ModelSpec], spec: MixtureSpec) -> ModelSpec | None:
    """Return the model that mixtures are tried with: the one that is named, or the first; None: there is none."""
    named = spec.proxy.model
    return next((model for model in models if named in (None, model.label or model.name)), None)


def settings_of(models: Sequence[ModelSpec], spec: MixtureSpec) -> list[dict[str, Any]]:
    """Return the proxy's settings that the gate tries, each as a table of ``[[models]]``; none without a proxy."""
    model = proxy_of(models, spec)
    if model is None:
        return []
    label = model.label or model.name
    own = {"name": model.name, **model.parameters}
    tried = spec.proxy.tried
    found: list[dict[str, Any]] = []
    for values in product(*tried.values()):
        chosen = dict(zip(tried, values, strict=True))
        said = ", ".join(_said(key, value) for key, value in chosen.items())
        named = f"{label} ({said})" if said else label
        if len(named) > LONGEST_NAME:
            ending = f" (setting {len(found) + 1})"
            named = label[: LONGEST_NAME - len(ending)] + ending
        found.append({**own, **chosen, "label": named})
    return found


def _said(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(_said(inner, one) for inner, one in value.items())
    return f"{key} = {value:,}" if isinstance(value, int) and not isinstance(value, bool) else f"{key} = {value}"


def costs_of(spec: MixtureSpec, n_settings: int) -> Costs:
    """Return how many trainings each stage takes at most; rounds have what the budget leaves."""
    gate = GATE_MIXTURES * GATE_SEEDS * n_settings if n_settings > 1 else 0
    design = (spec.mixtures + spec.held_out) * spec.seeds
    confirmation = (CONFIRMED + RIVALS + bool(spec.prior)) * spec.confirm_seeds
    transfer = ((spec.transfer is not None) + (n_settings > 1)) * TRANSFERRED * spec.seeds
    left = max(0, spec.runs - gate - design - confirmation - transfer)
    per_round = left // spec.rounds // spec.seeds if spec.rounds else 0
    return Costs(gate, design, spec.rounds * per_round * spec.seeds if per_round > 1 else 0, confirmation, transfer)


def mixture_problems(spec: StudySpec, tasks: Sequence[Asked]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a study's ``[mixture]``, each with its place."""
    mixture = spec.mixture
    assert mixture is not None, "the caller has looked"
    if spec.corpora:
        yield "corpora", "a study of mixtures makes its corpora: leave out [[corpora]], or [mixture]"
    if "seeds" in spec.model_fields_set:
        yield "seeds", "in a study of mixtures, stages have their own; write seeds under [mixture]"
    yield from _source_problems(spec, mixture)
    yield from _prior_problems(spec, mixture)
    yield from _model_problems(spec, mixture)
    for at, one in enumerate(mixture.utility):
        yield from _utility_problems(f"mixture.utility[{at}]" if len(mixture.utility) > 1 else "mixture.utility",
                                     one, tasks)  # fmt: skip
    if mixture.combine == "pareto" and tasks and (n_outputs := _n_outputs(mixture, tasks)) < FEWEST_OF_FRONT:
        yield (
            "mixture.combine",
            f"a front (pareto) is of two scores or more; got {n_outputs}: name more targets, tasks or metrics under "
            'utility, or combine by "mean"',
        )
    if not tasks:
        yield "mixture.utility", "nothing is asked of the models: the study has no [[tasks]]; give one"
    costs = costs_of(mixture, len(settings_of(spec.models, mixture)))
    if mixture.runs < costs.total:
        parts = ", ".join(f"{name} {n}" for name, n in costs._asdict().items() if n)
        yield (
            "mixture.runs",
            f"{mixture.runs:,} runs are fewer than the stages take ({parts}: {costs.total:,} in all); raise runs, or "
            "lower mixtures, held_out, seeds or the settings that proxy tries",
        )


def _n_outputs(mixture: MixtureSpec, tasks: Sequence[Asked]) -> int:
    """Return how many different scores a utility is made of."""
    found = set[tuple[str, str | None, str | None, str]]()
    for one in mixture.utility:
        asked = next((task for task in tasks if one.task in (None, task.label)), tasks[0])
        metric = one.metric or (asked.task.metrics[0].name if asked.task.metrics else None)
        found |= {(asked.label, metric, one.way, target) for target in one.shares or asked.targets}
    return len(found)


def _source_problems(spec: StudySpec, mixture: MixtureSpec) -> Iterator[tuple[str, str]]:
    named = mixture.sources or []
    for at, name in enumerate(named):
        if name not in spec.sources:
            yield f"mixture.sources[{at}]", f"there is no source {name!r}; {legal_names(name, spec.sources)}"
        if name in named[:at]:
            yield f"mixture.sources[{at}]", f"source {name!r} stands twice"
    grouped = [one.source for one in mixture.groups]
    for at, name in enumerate(grouped):
        if name not in spec.sources:
            yield "mixture.groups", f"there is no source {name!r}; {legal_names(name, spec.sources)}"
        if name in named or name in grouped[:at]:
            yield "mixture.groups", f"source {name!r} stands twice: it is mixed whole, or in groups by one label"
    known = named if mixture.sources is not None or grouped else [*spec.sources]
    if len(known) + len(grouped) < 2 and not grouped:
        yield "mixture.sources", "expected two sources or more, or groups of one; one source has no mixtures"


def _prior_problems(spec: StudySpec, mixture: MixtureSpec) -> Iterator[tuple[str, str]]:
    """Yield sources without a prior; groups are known once the data are open (`corpuscle.study.mixing.mixing_of`)."""
    whole = mixture.sources if mixture.sources is not None else [] if mixture.groups else [*spec.sources]
    if not mixture.prior:
        return
    if lacking := [name for name in whole if name in spec.sources and name not in mixture.prior]:
        yield "mixture.prior", without_prior(lacking)
    for name in mixture.prior if not mixture.groups else ():
        if name not in whole:
            yield "mixture.prior", f"there is no source {name!r} to mix; {legal_names(name, whole)}"


def without_prior(names: Sequence[str]) -> str:
    """Say that some of what is mixed has no prior."""
    return (
        f"expected a weight above 0 for all that is mixed; nothing is said of {shortened(', '.join(names))}: give it a "
        "weight, or leave it out of what is mixed"
    )


def _model_problems(spec: StudySpec, mixture: MixtureSpec) -> Iterator[tuple[str, str]]:
    labels = [model.label or model.name for model in spec.models]
    proxy = proxy_of(spec.models, mixture)
    if proxy is None:
        named = str(mixture.proxy.model)
        yield "mixture.proxy.model", f"there is no model {named!r}; {legal_names(named, labels)}"
    for key, values in mixture.proxy.tried.items():
        if not values:
            yield f"mixture.proxy.{key}", f"{key} should have what the gate tries; got an empty list"
        elif any(value in values[:at] for at, value in enumerate(values)):
            yield f"mixture.proxy.{key}", f"{key} has a value twice; the gate tries each once"
    if mixture.transfer is not None:
        if mixture.transfer not in labels:
            yield "mixture.transfer", f"there is no model {mixture.transfer!r}; {legal_names(mixture.transfer, labels)}"
        elif proxy is not None and mixture.transfer == (proxy.label or proxy.name):
            yield "mixture.transfer", f"{mixture.transfer!r} is the proxy itself; name the model of interest"


def _utility_problems(place: str, one: UtilitySpec, tasks: Sequence[Asked]) -> Iterator[tuple[str, str]]:
    labels = [task.label for task in tasks]
    if one.task is not None and one.task not in labels:
        yield f"{place}.task", f"there is no task {one.task!r}; {legal_names(one.task, labels)}"
        return
    if not tasks:
        return
    asked = next(task for task in tasks if one.task in (None, task.label))
    metrics = {metric.name: metric for metric in asked.task.metrics}
    lead = one.metric or asked.headline[0]
    if one.metric is not None and metrics and one.metric not in metrics:
        yield f"{place}.metric", f"{asked.label} has no metric {one.metric!r}; {legal_names(one.metric, metrics)}"
    elif lead in metrics and metrics[lead].better not in ("higher", "lower"):
        yield f"{place}.metric", f"neither higher nor lower {lead} is better, so nothing could be chosen by it"
    for name in one.shares or {}:
        if name not in asked.targets:
            yield f"{place}.targets", f"{asked.label} is not asked on {name!r}; {legal_names(name, asked.targets)}"
    if IN_PLACE in (one.shares or dict.fromkeys(asked.targets)):
        yield f"{place}.targets", "in place, each mixture is asked about other cells: name targets that all share"
