"""Job: one run of a plan with all that it takes, and doing it: fit, lay out, ask; each result whole in the store."""

import dataclasses
import json
import math
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from safetensors import safe_open

from corpuscle.core.components import guarded
from corpuscle.core.errors import BrokenComponentError, CorpuscleError, ModelError
from corpuscle.core.paths import safe_name
from corpuscle.core.randomness import generator
from corpuscle.core.scores import Metric, Score, score_table, with_headline
from corpuscle.core.usage import Usage, measured
from corpuscle.corpus.corpus import Corpus
from corpuscle.evaluation.embedding import reasons
from corpuscle.evaluation.fit_check import check_fit
from corpuscle.evaluation.maps import umap_table
from corpuscle.evaluation.task import Compares, Task, answers
from corpuscle.model.model import HISTORY, Cost, FittedModel, Model, Progress, TrainsTogether
from corpuscle.store import Store, write_text
from corpuscle.study.plan import Run

# Training is nearly all of a run; the last hundredth is for the tasks.
MOST = 0.99
# What stands for the comparison of two models that cannot be compared.
COMPARISON = Metric("comparison", "Comparison", "")


class Reference(NamedTuple):
    """The run whose model another one is compared with; `key` is where that model, fitted on `corpus`, is stored."""

    run: Run
    model: Model
    key: str
    corpus: Corpus


class Question(NamedTuple):
    """A task to be asked of a fitted model on a target; `key` is where its scores are stored.

    `note` is what to say of each score: on which of the target's genes it is, if not on all.
    """

    key: str
    task: Task
    label: str
    target: Corpus
    reference: Reference | None = None
    note: str = ""


class Map(NamedTuple):
    """A target whose embedding is to be drawn in the plane; `key` is where its table is stored."""

    key: str
    target: Corpus


@dataclass(frozen=True, eq=False)
class Job:
    """One run, with all that a worker needs to do it."""

    run: Run
    model: Model
    corpus: Corpus
    key: str
    questions: tuple[Question, ...]
    store: Path
    n_steps: int
    maps: tuple[Map, ...] = ()

    @property
    def is_fitted(self) -> bool:
        """Return whether the store has the model."""
        return Store(self.store).has("models", self.key)

    @property
    def is_done(self) -> bool:
        """Return whether the store has the model, all of its scores, and its maps."""
        store = Store(self.store)
        return (
            self.is_fitted
            and all(store.has("scores", ask.key) for ask in self.questions)
            and all(store.has("maps", drawn.key) for drawn in self.maps)
        )

    def waits_for(self, coming: Collection[str]) -> bool:
        """Return whether a model that it is compared with is among those, by key, that are still to be fitted."""
        return any(ask.reference.key in coming for ask in self.questions if ask.reference)


def do(job: Job, tell: Progress, *, last_chance: bool) -> str | None:
    """Do a job, as far as the models that it is compared with are there.

    Parameters
    ----------
    job
        The job.
    tell
        Called now and then with which share of it is done.
    last_chance
        Whether a model that is not there now will never be.

    Returns
    -------
    What went wrong, for people; None: nothing did.
    """
    try:
        tell(0.0)
        fitted = _fitted(job, lambda share: tell(MOST * share))
        for drawn in job.maps:
            _draw(drawn, fitted, job)
        lacking = [question.reference for question in job.questions if not _ask(question, fitted, job)]
        if lacking and lacking[0] and last_chance:
            return f"the model that it is compared with could not be fitted: {lacking[0].run}"
    except BrokenComponentError as error:
        return f"{error}{_logged(job)}"
    except CorpuscleError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}{_logged(job)}"
    return None


def _logged(job: Job) -> str:
    """Write the traceback of what went wrong to a file, and return where it is; the disk may be what went wrong."""
    name = "-".join(safe_name(str(part)) for part in job.run)
    log = job.store.parent / "errors" / f"{name}.txt"
    try:
        write_text(log, traceback.format_exc())
    except CorpuscleError as error:
        return f" (details could not be kept: {error})"
    return f" (details in {log})"


def _fitted(job: Job, progress: Callable[[float], None]) -> FittedModel:
    """Fit the model, or load it where it was fitted before; either way with what fitting it cost."""
    store = Store(job.store)
    if store.has("models", job.key):
        return _loaded(store, job.model, job.key)
    with measured() as usage, guarded(job.model):
        fitted = job.model.fit(job.corpus, job.run.seed, progress)
    _keep(fitted, job, usage)
    return fitted


def fit_together(group: Sequence[Job], tell: Progress) -> None:
    """Fit the models of several jobs as one, and store them; they share what it cost."""
    model = group[0].model
    assert isinstance(model, TrainsTogether), "the group was made for that"
    with measured() as usage:
        found = model.fit_together(
            [job.corpus for job in group], [job.run.seed for job in group], lambda share: tell(MOST * share)
        )
    share = Usage(usage.seconds / len(group), usage.cpu_seconds / len(group), usage.peak_bytes)
    for job, fitted in zip(group, found, strict=True):
        _keep(fitted, job, share)


def _keep(fitted: FittedModel, job: Job, usage: Usage) -> None:
    """Store a fitted model, what it cost, and how well it gives its own cells back."""
    with guarded(job.model):
        check = check_fit(fitted, job.corpus, job.run.seed)
    with Store(job.store).create("models", job.key) as folder:
        with guarded(job.model):
            fitted.save(folder)
        _check_history(folder / "history.parquet")
        fitted.cost = Cost(usage, _n_numbers(folder))
        facts = {
            **dataclasses.asdict(usage),
            "n_parameters": fitted.cost.n_parameters,
            "n_steps": job.n_steps,
            "model": job.model.spec(),
            "corpus": job.corpus.fingerprint,
            "seed": job.run.seed,
            "check": {name: value if math.isfinite(value) else None for name, value in check._asdict().items()},
        }
        write_text(folder / "run.json", json.dumps(facts, indent=1))


def _check_history(path: Path) -> None:
    """Refuse a training curve that no report can read: the curves of all runs are one table."""
    if not path.exists():
        return
    table = pd.read_parquet(path)
    numbers = [name for name in HISTORY if name != "quantity"]
    if not set(HISTORY) <= set(table) or not all(pd.api.types.is_numeric_dtype(table[name]) for name in numbers):
        found = ", ".join(map(str, table)) or "none"
        raise ModelError(
            f"history.parquet, as the model saved it, has the columns {found}; a training curve has "
            f"{', '.join(HISTORY)}, of which all but quantity are numbers"
        )


def _loaded(store: Store, model: Model, key: str) -> FittedModel:
    with guarded(model):
        fitted = model.load_fitted(store.folder("models", key))
    facts = json.loads((store.folder("models", key) / "run.json").read_text(encoding="utf-8"))
    usage = Usage(**{field.name: facts[field.name] for field in dataclasses.fields(Usage)})
    fitted.cost = Cost(usage, facts["n_parameters"])
    return fitted


def _n_numbers(folder: Path) -> int:
    """Count the numbers in the weights that a model saved."""
    total = 0
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, "numpy") as file:
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return total


def _ask(question: Question, fitted: FittedModel, job: Job) -> bool:
    """Ask a question, unless the store has its scores; say whether it has them now."""
    store = Store(job.store)
    if store.has("scores", question.key):
        return True
    task, target, other = question.task, question.target, question.reference
    if other and not store.has("models", other.key):
        return False
    # Whatever the corpus and the model: what is drawn is then the same for all that are compared.
    rng = generator(job.run.seed, "task", question.label, target.name)
    with guarded(task):
        scores = [*answers(task, fitted, job.corpus, target, rng)]
        if other and isinstance(task, Compares) and isinstance(fitted, task.needs):
            reference = fitted if other.key == job.key else _loaded(store, other.model, other.key)
            scores += _compared(task, fitted, reference, target.as_known_to(other.corpus), rng)
    scores = with_headline(scores, task.metrics[0].name if task.metrics else "")
    noted = (score._replace(reason=reasons(score.reason, question.note)) for score in scores)
    table = score_table(noted, corpus="", model="", seed=job.run.seed, task="", target="")
    with store.create("scores", question.key) as folder:
        table.to_parquet(folder / "scores.parquet")
    return True


def _compared(
    task: Compares, fitted: FittedModel, reference: FittedModel, target: Corpus, rng: np.random.Generator
) -> list[Score]:
    """Compare a model with its reference, on the genes that both of their corpora measured."""
    if not target.measured_SG.any():
        return [COMPARISON.score("all", float("nan"), 0, "there is no gene that both corpora measured")]
    return [*task.compare(fitted, reference, target, rng)]


def _draw(drawn: Map, fitted: FittedModel, job: Job) -> None:
    """Lay a target's embedding out in the plane, unless the store has it."""
    store = Store(job.store)
    if not store.has("maps", drawn.key):
        with guarded(job.model):
            table = umap_table(fitted, drawn.target, job.run.seed)
        with store.create("maps", drawn.key) as folder:
            table.to_parquet(folder / "map.parquet")
