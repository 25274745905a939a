"""Findings: what is wrong with a study and its data, and what is likely not meant, each with its place in its file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

from corpuscle.core.errors import InputError, Problem, StudyError
from corpuscle.core.text import shortened
from corpuscle.study.spec import Study

# Where a source's problems are, and how many sources a problem that they share names.
OF_SOURCE, MOST_NAMED = "sources.", 5


class Findings:
    """Collects problems and warnings, so that all are said at once.

    Attributes
    ----------
    problems
        What must be fixed.
    warnings
        What is legal and yet likely not meant.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def refuse(self, place: str, message: str) -> None:
        """Note what is wrong at a place of the study file."""
        self.problems.append(self.study.problem(place, message))

    def warn(self, place: str, message: str) -> None:
        """Note what is legal and yet likely not meant, at a place of the study file."""
        self.warnings.append(self.study.problem(place, message))

    @contextmanager
    def noting(self, place: str) -> Iterator[None]:
        """Turn an input error into a problem at a place of the study file, and go on."""
        try:
            yield
        except InputError as error:
            self.refuse(place, str(error))

    def is_at_fault(self, place: str) -> bool:
        """Return whether something within a place is a problem already: what follows from it need not be said."""
        return any(problem.place.startswith((f"{place}.", f"{place}[")) for problem in self.problems)

    def stop(self) -> None:
        """Raise all problems, if there are any.

        Raises
        ------
        StudyError
            With everything that is wrong.
        """
        if self.problems:
            # A corpus that cannot be drawn, or that leaks, is so at every seed: say it once.
            raise StudyError(_joined(list(dict.fromkeys(self.problems))))

    def of_corpus(self, name: str) -> str:
        """Return the place of a corpus in the study file."""
        return self._places[name]

    @cached_property
    def _places(self) -> dict[str, str]:
        corpora = enumerate(self.study.spec.corpora)
        return {name: f"corpora[{at}]" for at, corpus in corpora for name in corpus.rungs}

    def of_target(self, name: str) -> str:
        """Return the place of a target in the study file."""
        return next(
            f"tasks[{at}].on[{position}]"
            for at, task in enumerate(self.study.spec.tasks)
            for position, target in enumerate(task.on)
            if target.title == name
        )


def _joined(problems: Sequence[Problem]) -> list[Problem]:
    """Say once what is wrong with several sources, such as a file that all of them read, and with which.

    Examples
    --------
    >>> for problem in _joined([Problem(f"sources.{name}", "no such file: a.h5ad") for name in ("fat", "skin")]):
    ...     print(problem)
    sources.fat: 2 sources (fat, skin): no such file: a.h5ad
    """
    sharing: dict[str, list[Problem]] = {}
    for problem in problems:
        if _of_source(problem):
            sharing.setdefault(problem.message, []).append(problem)
    joined = []
    for problem in problems:
        alike = sharing.get(problem.message, []) if _of_source(problem) else []
        if len(alike) > 1 and problem == alike[0]:
            names = [shortened(other.place.removeprefix(OF_SOURCE)) for other in alike]
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            # In front, as a long message is cut at its end.
            which = f"{len(names)} sources ({', '.join(names[:MOST_NAMED])}{more})"
            joined.append(replace(problem, message=f"{which}: {problem.message}"))
        elif len(alike) <= 1:
            joined.append(problem)
    return joined


def _of_source(problem: Problem) -> bool:
    """Return whether a problem is a whole source's, not one of its settings'."""
    return problem.place.startswith(OF_SOURCE) and "." not in problem.place.removeprefix(OF_SOURCE)
