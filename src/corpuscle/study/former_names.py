"""Former names: filters and settings of a study that still call labels as the files do.

A filter would silently match too little; a setting would be refused without a word on why its label is gone.
"""

from collections.abc import Iterator, Mapping

import pandas as pd

from corpuscle.source import cell_filter
from corpuscle.source.source import Source
from corpuscle.study.findings import Findings
from corpuscle.study.relabelling import counts
from corpuscle.study.spec import Study


def refuse_former_names(findings: Findings, sources: Mapping[str, Source], relabelled: pd.DataFrame) -> None:
    """Note as problems the filters and settings that call labels by names which a study's ``[labels]`` took from them.

    A source's own ``where`` is not looked at: it is about its file, and calls labels as that does.

    Parameters
    ----------
    findings
        Where they are noted.
    sources
        The sources, their labels named.
    relabelled
        What was named; see `corpuscle.study.relabelling.relabel`.
    """
    if relabelled.empty:
        return
    keys = relabelled[["source", "label", "from"]].itertuples(index=False, name=None)
    called = dict(zip(keys, relabelled["to"], strict=True))
    there = {
        (name, column): set(counts(source, column))
        for name, source in sources.items()
        for column in relabelled["label"].unique()
        if column in source.cells
    }
    filtered = ((place, cell_filter.compared(text), names) for place, text, names in filters(findings.study))
    for say, found in (("compares {} with {!r}", filtered), ("names the {} {!r}", settings(findings.study))):
        for place, compared, names in found:
            for column, text in sorted(compared):
                new = {
                    called[name, column, text]
                    for name in names
                    if (name, column, text) in called and text not in there[name, column]
                }
                if lacking := sorted(one for one in new if (column, one) not in compared):
                    instead = " or ".join(repr(one) for one in lacking)
                    what = say.format(column, text)
                    findings.refuse(place, f"{what}, which [labels] calls {instead}; write that")


def settings(study: Study) -> Iterator[tuple[str, set[tuple[str, str]], list[str]]]:
    """Yield each setting that names labels: its place, the columns and labels, and the sources it may be about."""
    for name, holdout in study.holdout.items():
        if holdout.values:
            yield f"holdout.{name}.values", {(holdout.by, value) for value in holdout.values}, [name]
    recipes = {recipe.name: recipe for recipe in study.recipes}
    for at, corpus in enumerate(study.spec.corpora):
        recipe = recipes[next(iter(corpus.rungs))]
        for position, part in enumerate(recipe.parts):
            for one in part.sampler.names_labels:
                place = f"corpora[{at}].parts[{position}].{one.setting}"
                yield place, {(one.column, label) for label in one.labels}, [part.source, *part.sampler.sources]
        for position, step in enumerate(recipe.steps):
            for one in step.names_labels:
                place = f"corpora[{at}].steps[{position}].{one.setting}"
                yield place, {(one.column, label) for label in one.labels}, recipe.sources


def filters(study: Study) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each filter of cells that were named: its place, itself, and the sources whose cells it may be about."""
    for at, task in enumerate(study.spec.tasks):
        for position, target in enumerate(task.on):
            if target.where:
                yield f"tasks[{at}].on[{position}].where", target.where, [target.source]
    everywhere = list(study.spec.sources)
    for at, corpus in enumerate(study.spec.corpora):
        if corpus.exclude:
            yield f"corpora[{at}].exclude", corpus.exclude, everywhere
        for position, part in enumerate(corpus.parts):
            if part.only:
                yield f"corpora[{at}].parts[{position}].only", part.only, [part.source]
        for kind, tables in (("parts", corpus.parts), ("steps", corpus.steps)):
            for position, table in enumerate(tables):
                where = table.parameters.get("where")
                if isinstance(where, str) and where:
                    yield f"corpora[{at}].{kind}[{position}].where", where, everywhere
