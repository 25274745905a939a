"""View: what measures are given of a corpus, and of what it is compared with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from corpuscle.core.errors import MeasureError, ModelError
from corpuscle.core.randomness import generator
from corpuscle.corpus.cell_ontology import CellTypes
from corpuscle.corpus.corpus import Corpus
from corpuscle.measures.common_space import CommonSpace
from corpuscle.measures.composition import Composition, composition
from corpuscle.measures.donor_bootstrap import Donors, donors_of
from corpuscle.measures.summary import Summary, profile
from corpuscle.measures.table import Once, attempt

# Of a corpus of more, so many uses of cells are drawn for what needs counts: time and memory are bounded.
MOST_CELLS = 20_000
# The same for what compares cells pair by pair, and for all cells of a target.
MOST_PAIRED = 5000


class Target(NamedTuple):
    """A target's name, and its cells in the common space: all of them, or `MOST_PAIRED`."""

    name: str
    profile: Summary


@dataclass(frozen=True, eq=False)
class StudyView:
    """What all corpora of a study are measured in and against; what takes time is found when it is first asked for.

    Attributes
    ----------
    n_equal
        How many cells to draw of a corpus to compare it with others: as many as the smallest has, within bounds.
    types
        What the cell types mean.
    cells
        The cells of each target.
    find_space
        Finds the common space.
    """

    n_equal: int
    types: CellTypes
    cells: Mapping[str, Corpus]
    find_space: Callable[[], CommonSpace] = field(repr=False)

    @Once
    def space(self) -> CommonSpace:
        """The common space."""
        return self.find_space()

    @Once
    def targets(self) -> list[Target]:
        """The targets in the common space."""
        return [Target(name, self._looked_at(name)) for name in self.cells]

    def _looked_at(self, name: str) -> Summary:
        rng = generator(0, "measure", "target", name)
        return profile(self.cells[name], self.space, MOST_PAIRED, rng)


@dataclass(frozen=True, eq=False)
class View:
    """What measures are given of a corpus. What takes time is found when it is first asked for, once for all measures.

    What is not there raises a `MeasureError`, each time that it is asked for: the reason of the rows that need it.

    Attributes
    ----------
    corpus
        The cells: their labels, and their counts in the study's genes.
    seed
        The seed that drew them.
    study
        What all corpora of the study are measured in and against.
    """

    corpus: Corpus
    seed: int
    study: StudyView

    def rng(self, *names: str) -> np.random.Generator:
        """Return a new generator for a named purpose.

        It is named after what is drawn, not after the corpus: corpora of the same cells get the same numbers.
        """
        return generator(self.seed, "measure", *names)

    @Once
    def donors(self) -> Donors:
        """The donors of the corpus' cells, drawn anew."""
        return donors_of(self.corpus, self.rng("labels"))

    def composition(self, label: str) -> Composition:
        """Count the corpus' cells, each as often as it is used, by label and, where they are known, by `donors`."""
        donors = attempt(lambda: self.donors.code_N)
        times_N = self.corpus.cells["times"].to_numpy(np.int64)
        return composition(self.corpus.labels(label), times_N, None if isinstance(donors, MeasureError) else donors)

    @Once
    def profile(self) -> Summary:
        """The corpus' cells in the common space: all of them, or `MOST_CELLS`."""
        try:
            return profile(self.corpus, self.study.space, MOST_CELLS, self.rng("cells"))
        except ModelError as error:  # a step makes cells by a model that cannot be trained
            raise MeasureError(str(error)) from error
