"""Graph: what a plan's runs come to as artifacts, each named after all that it depends on."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from corpuscle.core.fingerprint import fingerprint
from corpuscle.core.scores import label_list
from corpuscle.corpus.changed_groups import changed_in
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.derived import made_once
from corpuscle.corpus.stored import StoredCorpora
from corpuscle.evaluation.maps import MOST_MAPPED
from corpuscle.evaluation.task import Compares, Task
from corpuscle.execution.artifact import Address, Artifact
from corpuscle.execution.artifacts import Fit, MadeCells, Map, Scores
from corpuscle.store import Store
from corpuscle.study.known_targets import KnownTargets
from corpuscle.study.plan import Plan, Run

# Raised when what is kept of a model, of a task's answers or of a map changes in form or by code of no component: what
# the store has of older versions is not used.
MODELS, SCORES, MAPS = 1, 1, 1


@dataclass(frozen=True, eq=False)
class RunArtifacts:
    """The artifacts of one run, and how many optimisation steps it takes.

    `altered` is which types and batches of its corpus steps changed the number of, `seen` by target which share of its
    cells the model learned from; see `ALTERED` and `SEEN` in `corpuscle.core.scores`.
    """

    run: Run
    n_steps: int
    fit: Fit
    scores: tuple[Scores, ...]
    maps: tuple[Map, ...]
    altered: tuple[str, str] = "", ""
    seen: Mapping[str, float] = field(default_factory=dict)

    @property
    def all(self) -> tuple[Artifact, ...]:
        """All of them, in the order that they are made in."""
        return (self.fit, *self.maps, *self.scores)

    def is_done(self, store: Store) -> bool:
        """Return whether the store has them all."""
        return all(store.has(*artifact.address) for artifact in self.all)

    def failure(self, failures: Mapping[Address, str]) -> str | None:
        """Return what went wrong with the run; None: nothing did."""
        found = dict.fromkeys(failures[one.address] for one in self.all if one.address in failures)
        # What needs a model that could not be fitted only repeats why.
        return next(iter(found)) if self.fit.address in failures else "; ".join(found) or None


def runs_of(plan: Plan, corpora: StoredCorpora) -> list[RunArtifacts]:
    """Lay out a plan's runs.

    A key is a fingerprint of everything that its result depends on: settings, cells, genes, the content of the files,
    the seed, and the versions of the code of all components that it is made with.
    """
    known, fits = KnownTargets(plan.targets), _fits(plan, corpora)
    mapped = [*dict.fromkeys([plan.study.baseline, *(run.corpus for run in plan.runs)])][:MOST_MAPPED]
    found = []
    for run, fit in fits.items():
        corpus, scores = plan.corpus_of(run), []
        for task in plan.study.tasks:
            other = _reference(task.task, run)
            reference = fits[other] if other else None
            for name in task.targets:
                target = known.of(name, corpus)
                # What is drawn at random depends on the task's and the target's name in the study, too.
                code = task.task.identity()
                asked = [task.label, name, code, target.cells.identity()]
                key = fingerprint("scores", SCORES, fit.key, asked, reference.key if reference else "")
                label = f"{task.label} on {name}: {run}"
                of_target = corpora.key(target.cells)
                of_task = task.task, fingerprint(code), task.label
                scores.append(Scores(key, label, *of_task, of_target, name, fit, reference, target.note))
        # One seed is enough to look at.
        is_shown = plan.study.spec.maps and run.seed == plan.study.seeds[0] and run.corpus in mapped
        shown = [name for task in plan.study.tasks if task.task.maps for name in task.targets] if is_shown else []
        drawn = {name: target.cells for name in shown if (target := known.of(name, corpus)).n_known}
        maps = tuple(_map(fit, name, cells, corpora) for name, cells in drawn.items())
        found.append(
            RunArtifacts(run, plan.n_steps(run), fit, tuple(scores), maps, _altered(corpus), plan.seen_by(run))
        )
    return found


def _fits(plan: Plan, corpora: StoredCorpora) -> dict[Run, Fit]:
    """Return each run's fitted model."""
    found = {}
    for run in plan.runs:
        model, corpus = plan.model(run.model).model, plan.corpus_of(run)
        seed = plan.study.fit_of(run.seed)
        key = fingerprint("model", MODELS, model.identity(), corpus.identity(), seed)
        code, cells = fingerprint(model.identity()), made_cells(corpus, corpora)
        found[run] = Fit(key, str(run), model, corpora.key(corpus), seed, code, cells)
    return found


def _map(fit: Fit, name: str, cells: Corpus, corpora: StoredCorpora) -> Map:
    # Of a large target, some cells are drawn, by its name.
    key = fingerprint("map", MAPS, fit.key, cells.name, cells.identity())
    return Map(key, f"map of {name}: {fit.label}", fit, corpora.key(cells), name)


def _altered(corpus: Corpus) -> tuple[str, str]:
    """Return the types and the batches whose numbers of cells the steps of a corpus changed."""
    changed = changed_in(corpus.account)
    return label_list(changed.types), label_list(changed.batches)


def made_cells(corpus: Corpus, corpora: StoredCorpora) -> tuple[MadeCells, ...]:
    """Return the cells that steps of a corpus make together, once."""
    found: dict[str, MadeCells] = {}
    for derived in made_once(corpus):
        before = tuple(found[other.fingerprint] for other in made_once(derived.parents))
        assert derived.made_key is not None, "others are made when they are asked for"
        label = f"making cells of {corpus.name}"
        made = MadeCells(derived.made_key, label, corpora.derived_key(derived), corpora.key(corpus), before)
        found[derived.fingerprint] = made
    return tuple(found.values())


def _reference(task: Task, run: Run) -> Run | None:
    """Return the run whose model a task compares this run's with; None where it compares with none."""
    if not isinstance(task, Compares) or not (task.reference_corpus or task.reference_model):
        return None
    return run._replace(corpus=task.reference_corpus or run.corpus, model=task.reference_model or run.model)


class RunShares:
    """Which share of each run is done, from the progress of its artifacts.

    Parameters
    ----------
    runs
        The runs.
    done
        The artifacts that are there already.
    """

    # Training is nearly all of a run.
    OF_FIT = 0.99

    def __init__(self, runs: Iterable[RunArtifacts], done: Collection[Address]) -> None:
        self._parts: dict[Run, dict[Address, float]] = {}
        self._runs_of: dict[Address, list[Run]] = {}
        for one in runs:
            weights = {part.address: (1 - self.OF_FIT) / max(1, len(one.all) - 1) for part in one.all}
            weights[one.fit.address] = self.OF_FIT if len(one.all) > 1 else 1.0
            self._parts[one.run] = weights
            for address in weights:
                self._runs_of.setdefault(address, []).append(one.run)
        self._shares = dict.fromkeys(done, 1.0)

    def update(self, address: Address, share: float) -> dict[Run, float]:
        """Take note of an artifact's share; return the shares of the runs that it is part of."""
        self._shares[address] = share
        return {
            run: min(1.0, sum(weight * self._shares.get(part, 0.0) for part, weight in self._parts[run].items()))
            for run in self._runs_of.get(address, [])
        }
