"""Artifact: one thing that a study makes and keeps: a fitted model, scores, measures.

A study is a graph of artifacts. What a worker process is sent is one of them: the settings and the store's keys of what
it is made from, a few kilobytes whatever the size of a corpus. The worker opens what it needs from the store.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from corpuscle.corpus.stored import CORPORA
from corpuscle.execution.opened import Opened
from corpuscle.model.model import Progress


class Address(NamedTuple):
    """Where the store has an artifact."""

    kind: str
    key: str


@dataclass(frozen=True, eq=False)
class Artifact(ABC):
    """Something to make once.

    Attributes
    ----------
    key
        What it is called in the store: a fingerprint of all that it depends on.
    label
        What it is, for people.
    """

    kind: ClassVar[str]

    key: str
    label: str

    @property
    def address(self) -> Address:
        """Where the store has it."""
        return Address(self.kind, self.key)

    @property
    def inputs(self) -> Sequence["Artifact"]:
        """What must be there before it can be made."""
        return ()

    @property
    def better_after(self) -> Sequence["Artifact"]:
        """What is made before it, if it can be made: several artifacts need it, and each could make do without."""
        return ()

    @property
    def corpora(self) -> Sequence[str]:
        """The keys of the corpora that it needs."""
        return ()

    @property
    def uses(self) -> Sequence[tuple[str, str]]:
        """All that it is made from, by kind and key, for its record in the store."""
        before = (*self.inputs, *self.better_after)
        return [*(one.address for one in before), *((CORPORA, key) for key in self.corpora)]

    @property
    def together(self) -> str:
        """What it is best made after, by the same process: artifacts of one value have the same large thing open."""
        return self.key

    @property
    def uses_gpu(self) -> bool:
        """Whether making it is on a GPU where there is one: so many are made at once as there are GPUs."""
        return False

    def memory(self, n_genes: int) -> int:
        """Return about how many bytes its models take on so many genes, besides the corpora; 0 where it is little."""
        return 0

    def refusal(self, lacking: "Artifact", why: str) -> str:
        """Return, in words, why it cannot be made: because one of its inputs could not."""
        return why

    @abstractmethod
    def make(self, folder: Path, opened: Opened, progress: Progress) -> None:
        """Make it.

        Parameters
        ----------
        folder
            Where to write it: a new folder, which the store takes when it is whole.
        opened
            What this process has open of the store.
        progress
            Called now and then with which share is done.
        """
