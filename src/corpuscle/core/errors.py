"""Every exception that Corpuscle raises on purpose, so that one tree says what can go wrong.

::

    CorpuscleError
    ├── InputError            what the user gave cannot be used; the command line exits with 2
    │   ├── StudyError        the study file: all its problems at once, each with its place
    │   ├── ComponentError    an unknown sampler, model, task, data set, or one of its parameters
    │   │   └── BrokenComponentError  a user's own component raised an error of another kind, or ended the process
    │   ├── SourceError       a source cannot be read, or does not hold what was asked of it
    │   ├── CorpusError       a corpus cannot be drawn as its recipe says
    │   ├── MeasureError      a measure is not defined for these cells or labels; tables have NaN with the message
    │   ├── LeakageError      an evaluation cell is in a training corpus
    │   └── FolderError       an output folder that belongs to something else
    ├── ModelError            a model cannot be fitted, saved or loaded
    │   └── DivergedError     training left the finite numbers
    └── DiskError             a disk is full or fails while something is written
"""

from collections.abc import Sequence
from dataclasses import dataclass


class CorpuscleError(Exception):
    """Base of all errors raised on purpose; its message is fit to show to a user."""


class InputError(CorpuscleError):
    """Something the user gave cannot be used: a file, a name, a number, a folder."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a study file.

    Attributes
    ----------
    place
        Where: a dotted path into the study file, with list positions, such as ``corpora[1].parts[0].n_cells``.
    message
        What was expected, what came, and what to do.
    line
        Line of the study file, counted from 1; 0 when it is not known.
    """

    place: str
    message: str
    line: int = 0

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.place}: {self.message}" if self.place else f"{where}{self.message}"


class StudyError(InputError):
    """A study file has problems; every one that could be found is in `problems`."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.line)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ComponentError(InputError):
    """No component has this name, or it has no such parameter, or a parameter's value is not legal.

    `faults` has each thing wrong with the path, below the component, at which it is (empty: the component itself).
    """

    def __init__(self, message: str, faults: Sequence[tuple[tuple[str | int, ...], str]] = ()) -> None:
        self.faults = list(faults) or [((), message)]
        super().__init__(message)


class BrokenComponentError(ComponentError):
    """A user's own component raised what is no message for people, or a component was to end the process."""


class SourceError(InputError):
    """A source cannot be read, or does not hold what was asked of it."""


class CorpusError(InputError):
    """A corpus cannot be drawn as its recipe says."""


class MeasureError(InputError):
    """A measure is not defined for what it was given; in tables it is NaN with this message as its reason."""


class LeakageError(InputError):
    """A cell that a model is to be evaluated on is also in a corpus that it is trained on."""


class ScoresError(InputError):
    """Rows of a table of scores contradict each other; the message names the rows, and not the table's file."""


class FolderError(InputError):
    """An output folder belongs to another study, is in use, or cannot be written."""


class ModelError(CorpuscleError):
    """A model cannot be fitted, saved or loaded."""


class DivergedError(ModelError):
    """Training left the finite numbers; the message has the step and the likely cause."""


class DiskError(CorpuscleError):
    """A disk is full or fails while something is written; what was complete before is kept."""
