"""Former names: filters of a study that still call labels as the files do; they would silently match too little."""

from collections.abc import Iterator, Mapping

import pandas as pd

from corpuscle.source import cell_filter
from corpuscle.source.source import Source
from corpuscle.study.findings import Findings
from corpuscle.study.relabelling import counts
from corpuscle.study.spec import Study


def refuse_former_names(findings: Findings, sources: Mapping[str, Source], relabelled: pd.DataFrame) -> None:
    """Note as problems the filters that compare labels with names which a study's ``[labels]`` took from them.

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
    for place, expression, names in filters(findings.study):
        compared = cell_filter.compared(expression)
        for column, text in compared:
            new = {
                called[name, column, text]
                for name in names
                if (name, column, text) in called and text not in there[name, column]
            }
            if lacking := sorted(one for one in new if (column, one) not in compared):
                instead = " or ".join(repr(one) for one in lacking)
                findings.refuse(place, f"compares {column} with {text!r}, which [labels] calls {instead}; write that")


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
        for kind, tables in (("parts", corpus.parts), ("steps", corpus.steps)):
            for position, table in enumerate(tables):
                where = table.parameters.get("where")
                if isinstance(where, str) and where:
                    yield f"corpora[{at}].{kind}[{position}].where", where, everywhere
