"""Executor: where artifacts are made: by processes of this machine (`local`), or by a cluster's workers (`cluster`).

The engine knows what can be made and in which order; an executor knows how much can be made at once, and where.
"""

from collections.abc import Collection, Container, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from corpuscle.corpus.stored import StoredCorpora
from corpuscle.execution.artifact import Artifact
from corpuscle.execution.workers import Ended, Update

# What was being made when its worker was killed (out of memory, say) gets one more chance.
MOST_TRIES = 2


class Choose(Protocol):
    """Gives what to make next."""

    def __call__(self, last: str = "", elsewhere: Container[str] = (), *, with_gpu: bool = True) -> Artifact | None:
        """Return what to make next; None: nothing can be made yet.

        Parameters
        ----------
        last, elsewhere
            What the process that is to make it has open, and what others have; see `Artifact.together`.
        with_gpu
            Whether it may use a GPU.
        """
        ...


class Pool(Protocol):
    """What makes artifacts while it is open."""

    @property
    def is_busy(self) -> bool:
        """Whether something is being made."""
        ...

    def take(self, choose: Choose) -> None:
        """Begin to make as much as there is room for."""
        ...

    def news(self, seconds: float) -> Iterator[Update | Ended]:
        """Wait until something happens, at most so long; yield what happened."""
        ...


class Executor(Protocol):
    """Opens pools."""

    def pool(self, corpora: StoredCorpora, missing: Collection[Artifact]) -> AbstractContextManager[Pool]:
        """Open a pool for some artifacts; what it is still making when it is closed is given up."""
        ...
