"""Drawing: every corpus of a study at every seed, as far as this machine can hold them."""

import math
from collections.abc import Mapping
from itertools import product

import pandas as pd

from corpuscle.core import components
from corpuscle.core.errors import ModelError
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.recipe import Recipe
from corpuscle.evaluation.task import NetworkTaught
from corpuscle.model.data.memory import machine_memory
from corpuscle.model.model import Model
from corpuscle.model.size import HasSizes, memory_of, memory_to_fine_tune
from corpuscle.source.genes import GeneSpace
from corpuscle.study.findings import Findings
from corpuscle.study.replicates import draw_facts
from corpuscle.study.spec import LabelledModel

# What a cell takes in the table of a corpus, about: its keys and a dozen labels.
BYTES_OF_CELL = 80


def all_fit(findings: Findings, space: GeneSpace | None, n_genes: int) -> bool:
    """Refuse models that cannot be fitted in a gene space, or that this machine cannot hold; return whether none is.

    Parameters
    ----------
    findings
        Where what is refused is noted.
    space
        The study's genes; None where the sources' genes do not match.
    n_genes
        How many there are.
    """
    study = findings.study
    models = [(f"models[{at}]", model.model) for at, model in enumerate(study.models)]
    for recipe in study.recipes:
        for at, step in enumerate(recipe.steps):
            if step.needs is not None:
                place = f"{findings.of_corpus(recipe.name)}.steps[{at}]"
                models.append((place, components.build(Model, *step.needs)))
    # All are looked at, so that everything wrong is noted.
    fits = [_fits(findings, place, model, space, n_genes) for place, model in models]
    return all(fits) and _can_fine_tune(findings, n_genes)


def _fits(findings: Findings, place: str, model: Model, space: GeneSpace | None, n_genes: int) -> bool:
    try:
        if space is not None:
            model.check(space)
        needed, limit = memory_of(model, n_genes), machine_memory()
    except ModelError as error:
        findings.refuse(place, f"model {model.name!r}: {error}")
        return False
    if needed > limit:
        instead = model.would_fit(n_genes, limit) if isinstance(model, HasSizes) else ""
        findings.refuse(
            place,
            f"model {model.name!r} would take about {needed / 1e9:,.0f} GB of memory on {n_genes:,} genes, "
            f"and this machine has {limit / 1e9:,.0f} GB; "
            f"{instead or 'lower its numbers of units and layers, or batch_size'}",
        )
    return needed <= limit


def _can_fine_tune(findings: Findings, n_genes: int) -> bool:
    """Refuse tasks whose fine-tuning of a model this machine cannot hold; return whether it can."""
    fits = True
    for at, task in enumerate(findings.study.tasks):
        for model, taught in product(findings.study.models, task.task.fine_tunes):
            if why := _too_much(model, taught, n_genes):
                findings.refuse(f"tasks[{at}].training", why)
                fits = False
    return fits


def _too_much(model: LabelledModel, taught: NetworkTaught, n_genes: int) -> str:
    """Return why this machine cannot hold a fine-tuning, and what it could; empty where it can."""
    limit, n_cells = machine_memory(), math.ceil(taught.batch_size / taught.accumulate)
    none, one, all_of_them = (memory_to_fine_tune(model.model, n_genes, n, taught.n_blocks) for n in (0, 1, n_cells))
    if all_of_them <= limit:
        return ""
    n_fit = int((limit - none) // max(1, one - none))
    least = math.ceil(taught.batch_size / n_fit) if n_fit > 0 else None
    instead = "a smaller model is needed" if least is None else f"accumulate = {least:,} would do"
    return (
        f"to fine-tune model {model.label!r} ({taught.weights}) on {n_cells:,} cells at once would take about "
        f"{all_of_them / 1e9:,.0f} GB of memory on {n_genes:,} genes, and this machine has {limit / 1e9:,.0f} GB; "
        f"{instead}"
    )


def _are_few(findings: Findings, pools: Mapping[str, Corpus]) -> bool:
    """Refuse corpora whose cell tables this machine cannot hold, all seeds together; return whether it can."""
    study, cells = findings.study, {source: len(pool) for source, pool in pools.items()}
    parts = [part for recipe in study.recipes for part in recipe.parts if part.source in cells]
    n_cells = sum(min(part.size(cells[part.source]), cells[part.source]) for part in parts)
    needed, limit = BYTES_OF_CELL * n_cells * len(study.draws), machine_memory()
    if needed > limit:
        findings.refuse(
            "seeds",
            f"the corpora have {n_cells * len(study.draws):,} cells, all seeds together; their tables would take about "
            f"{needed / 1e9:,.0f} GB of memory, and this machine has {limit / 1e9:,.0f} GB; lower seeds, or part the "
            "study",
        )
    return needed <= limit


def draw_corpora(
    findings: Findings, pools: Mapping[str, Corpus], context: Context
) -> tuple[dict[tuple[str, int], Corpus], pd.DataFrame]:
    """Draw every corpus at every seed, and alter it; return them, and how the draws of a corpus differ.

    A corpus that cannot be drawn is a problem at its place. See `corpuscle.study.replicates.draw_facts`.
    """
    study, corpora = findings.study, dict[tuple[str, int], Corpus]()
    facts: list[pd.DataFrame] = []
    if not _are_few(findings, pools):
        return corpora, pd.DataFrame()
    for recipe in study.recipes:
        if not {*recipe.sources, *recipe.looks_at} <= set(pools):
            continue
        if findings.is_at_fault(findings.of_corpus(recipe.name)):
            # What is wrong is said, and a draw would say it again in other words.
            continue
        with findings.noting(findings.of_corpus(recipe.name)):
            draws = []
            for at, seed in enumerate(study.draws):
                context.notice(f"drawing {recipe.name}", at / len(study.draws))
                drawn = recipe.draw(pools, seed, context)
                if (corpus := _altered(findings, recipe, drawn, seed, context)) is None:
                    # Other draws may lack other labels, and would say the same a little differently.
                    break
                corpora[recipe.name, seed] = corpus
                # Made cells are in no pool: of those, what they were made from was drawn.
                draws.append(drawn if corpus.used_makers else corpus)
            if draws:
                facts.append(draw_facts(recipe, pools, draws))
    return corpora, pd.concat(facts, ignore_index=True) if facts else pd.DataFrame()


def _altered(findings: Findings, recipe: Recipe, corpus: Corpus, seed: int, context: Context) -> Corpus | None:
    """Do a recipe's steps; None where one cannot be done."""
    for at, step in enumerate(recipe.steps):
        done = findings.study.draws.index(seed) / len(findings.study.draws)
        context.notice(f"drawing {recipe.name}: {step.name}", done)
        before = len(findings.problems)
        with findings.noting(f"{findings.of_corpus(recipe.name)}.steps[{at}]"):
            corpus = recipe.alter(corpus, seed, at, context)
        if len(findings.problems) > before:
            return None
    return corpus
