"""Measure: what is in a corpus, or how well it covers a target; nothing is trained."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import astuple
from typing import Any, ClassVar

import pandas as pd

from corpuscle.core.components import Component, build, guarded, names
from corpuscle.core.errors import ComponentError, MeasureError
from corpuscle.core.scores import Metric
from corpuscle.measures.table import Book, tables
from corpuscle.measures.view import View


class Measure(Component, ABC):
    """Numbers of a corpus that one computation gives. Each is one file in ``measures/built_ins``; all are found."""

    home: ClassVar[str] = "corpuscle.measures.built_ins"
    kind: ClassVar[str] = "measure"
    shared_version: ClassVar[int] = 2
    # What it finds: names that no other measure has. Reports have titles, meanings and directions from its rows.
    metrics: ClassVar[tuple[Metric, ...]]
    # What its rows are of, unless they say otherwise: reports show rows of the same in one table.
    of: ClassVar[str] = "components"
    # Whether it compares the corpus with each target.
    needs_targets: ClassVar[bool] = False

    def identity(self) -> list[Any]:
        """Return plain data that differ where its code does, or what it says of one of its metrics."""
        return [*super().identity(), [astuple(metric) for metric in self.metrics]]

    @abstractmethod
    def measure(self, view: View, book: Book) -> None:
        """Measure a corpus.

        Parameters
        ----------
        view
            The corpus, its labels, its cells in the study's common space, and the targets there.
        book
            Where rows and curves are written.

        Raises
        ------
        MeasureError
            When nothing can be measured: the reason of each metric that has no row. What single rows cannot know is
            raised inside ``with book.row(...)``.
        """


def built_ins() -> list[Measure]:
    """Return every measure, in the order of their files' names.

    Raises
    ------
    ComponentError
        When a file is no measure, or two have a metric of one name, so that their rows would be mixed.
    """
    found = [build(Measure, name, {}) for name in names(Measure)]
    owner: dict[str, str] = {}
    for measure in found:
        for metric in measure.metrics:
            if owner.setdefault(metric.name, measure.name) != measure.name:
                raise ComponentError(
                    f"the measures {owner[metric.name]!r} and {measure.name!r} both have a metric {metric.name!r}; "
                    "give one of them another name"
                )
    return found


def measure_corpus(measures: Iterable[Measure], view: View) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure a corpus, and return the rows and the points of curves."""
    books = []
    for measure in measures:
        if measure.needs_targets and not view.study.cells:
            continue
        book = Book(measure.of)
        try:
            with guarded(measure):
                measure.measure(view, book)
        except MeasureError as error:
            _explain(book, measure, list(view.study.cells) if measure.needs_targets else [""], str(error))
        books.append(book)
    return tables(books)


def _explain(book: Book, measure: Measure, targets: list[str], reason: str) -> None:
    """Add a row without a value for each metric, and target, that has none."""
    there = {(row.metric.name, row.target) for row in book.rows}
    for target in targets:
        for metric in measure.metrics:
            if (metric.name, target) not in there:
                with book.row(metric, 0, target=target):
                    raise MeasureError(reason)
