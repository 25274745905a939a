"""Small plan: a plan with few cells, one corpus and one seed, in which nothing else is left out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from corpuscle.core.components import guarded
from corpuscle.core.randomness import generator
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.derived import made_once
from corpuscle.evaluation.task import Compares
from corpuscle.execution.rehearsal.growth import Size
from corpuscle.execution.rehearsal.shortened import Length, short_model, short_tasks
from corpuscle.model.model import Model
from corpuscle.study.plan import Plan
from corpuscle.study.seen import Seen
from corpuscle.study.spec import LabelledModel, LabelledTask


class Asked(NamedTuple):
    """A task of a study, and how long its trainings are here."""

    task: str
    length: Length


class Small(NamedTuple):
    """A small plan, and what its tasks stand for, by their labels."""

    plan: Plan
    asked: dict[str, Asked]


def small_plan(plan: Plan, size: Size, draw: int) -> Small:
    """Cut a plan down.

    The corpus is the one of middle size, with those that tasks compare it with. Each task is asked on the largest of
    its targets, and stands there as often as its trainings have lengths. Models that run programs of the user are left
    out, and so are cells that a model has to make first: both are not for a check to do.

    Parameters
    ----------
    plan
        The plan.
    size
        How many cells corpora and targets have at most.
    draw
        Which cells: other ones for each number, so that nothing is there already.
    """
    study = plan.study
    models = [LabelledModel(one.label, short_model(one.model)) for one in study.models if not runs_programs(one.model)]
    tasks, asked = list[LabelledTask](), dict[str, Asked]()
    for one in study.tasks:
        for length, task in short_tasks(one.task):
            label = f"{len(tasks)}"
            tasks.append(LabelledTask(label, task, (_largest(plan, one.targets),)))
            asked[label] = Asked(one.label, length)
    kept = _names(plan, [one.task for one in tasks if isinstance(one.task, Compares)])
    recipes = tuple(plan.recipe(name) for name in kept)
    draw_of = study.draw_of(study.seeds[0])
    corpora = {(name, 0): _few(_in_files(plan.corpora[name, draw_of]), size.train, draw) for name in kept}
    targets = {name: _few(cells, size.target, draw) for name, cells in plan.targets.items()}
    pools = {name: _few(pool, max(size), draw) for name, pool in plan.pools.items()}
    cut = study.cut(recipes, models, tasks)
    return Small(replace(plan, study=cut, corpora=corpora, targets=targets, pools=pools, seen=Seen()), asked)


def runs_programs(model: Model) -> bool:
    """Whether a model runs programs of the user: a check starts none."""
    with guarded(model):
        return bool(model.programs)


def _names(plan: Plan, compare: Sequence[Compares]) -> list[str]:
    """Return the corpora to keep, the one that stands for all first."""
    draw = plan.study.draw_of(plan.study.seeds[0])
    by_size = sorted(plan.study.recipes, key=lambda recipe: plan.corpora[recipe.name, draw].n_cells)
    references = (task.reference_corpus for task in compare if task.reference_corpus)
    return list(dict.fromkeys([by_size[len(by_size) // 2].name, *references]))


def _largest(plan: Plan, targets: Sequence[str]) -> str:
    # In place, there is no target of the name.
    return max(targets, key=lambda name: len(plan.targets[name]) if name in plan.targets else 0)


def _in_files(corpus: Corpus) -> Corpus:
    """Return a corpus without the cells that are made together; what these are made from, where it has no others."""
    together = {one.fingerprint for one in made_once(corpus)}
    made = {
        key
        for key, derived in corpus.used_makers.items()
        if derived.fingerprint in together or made_once(derived.parents)
    }
    if not made:
        return corpus
    own_N = ~np.isin(corpus.labels("made"), list(made))
    if own_N.any():
        return corpus.take(own_N)
    return _in_files(next(corpus.used_makers[key] for key in made).parents)


def _few(cells: Corpus, n: int, draw: int) -> Corpus:
    """Draw some of the cells, in an order of their own: then nothing that was found of others is taken for theirs."""
    return cells.take(generator(draw, "rehearsal", cells.name).permutation(len(cells))[:n])
