"""Engine: make what is missing of a graph of artifacts, wherever an executor does; what fails costs only what needs it.

Workers make one artifact each on one thread: inside so small a model, threads cost more than they bring.
"""

import contextlib
import signal
import threading
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any, NamedTuple

from corpuscle.core.claims import Watch
from corpuscle.corpus.stored import StoredCorpora
from corpuscle.execution.artifact import Address, Artifact
from corpuscle.execution.executor import MOST_TRIES, Executor
from corpuscle.execution.local import LocalProcesses
from corpuscle.execution.making import ELSEWHERE
from corpuscle.execution.needs import about_needed
from corpuscle.execution.workers import Ended, Update

POLL_SECONDS = 0.2
# How often an artifact is tried whose inputs are damaged meanwhile and made again.
MOST_ROUNDS = 5


def execute(
    wanted: Iterable[Artifact],
    corpora: StoredCorpora,
    workers: "int | Executor",
    on_update: Callable[[Update], None],
    on_failure: Callable[[str, str], None] = lambda _what, _why: None,
) -> dict[Address, str]:
    """Make the artifacts that the store lacks, and what they are made from.

    Parameters
    ----------
    wanted
        What to make, in the order that is best.
    corpora
        The corpora that artifacts name; they are put into the store when an artifact needs them.
    workers
        How many processes of this machine (0: this one), or what else makes them.
    on_update
        Called with the progress of each artifact.
    on_failure
        Called with what could not be made, and why; not with what only lacks that.

    Returns
    -------
    What could not be made, and why. What fails does not stop the others.
    """
    executor = LocalProcesses(workers) if isinstance(workers, int) else workers
    undone = _Undone(wanted, corpora)
    if not undone.n_missing:
        return {}
    with _stoppable(), executor.pool(corpora, undone.missing.values()) as pool:
        while undone.n_missing:
            pool.take(undone.next)
            assert pool.is_busy or undone.elsewhere, "what is missing waits for what is being made"
            for news in pool.news(POLL_SECONDS):
                if isinstance(news, Update):
                    on_update(news)
                elif undone.end(news):
                    address = news.artifact.address
                    if address in undone.failures:
                        on_failure(news.artifact.label, undone.failures[address])
                    on_update(Update(address, 1.0))
            for address in undone.came():
                on_update(Update(address, 1.0))
    return undone.failures


class _Ready(NamedTuple):
    """What can be made now; `order` is its place in the plan."""

    order: int
    address: Address
    together: str
    uses_gpu: bool


class _Undone:
    """What is still to be made, and what waits for what.

    Attributes
    ----------
    missing
        What is not there yet, whether it is being made or not.
    failures
        What could not be made, and why.
    elsewhere
        What other processes are making: those of another run.
    """

    def __init__(self, wanted: Iterable[Artifact], corpora: StoredCorpora) -> None:
        self.corpora, self.store = corpora, corpora.store
        self.missing: dict[Address, Artifact] = {}
        self.failures: dict[Address, str] = {}
        self.elsewhere: dict[Address, Watch] = {}
        self._order: dict[Address, int] = {}
        self._waits_for: dict[Address, set[Address]] = {}
        self._needed_by: dict[Address, set[Address]] = {}
        # What can be made now, in order: all of it, and by what it is best made together with.
        self._ready: list[_Ready] = []
        self._ready_with: dict[str, list[_Ready]] = {}
        self._tries: Counter[Address] = Counter()
        for artifact in wanted:
            self._add(artifact)

    @property
    def n_missing(self) -> int:
        """How many are not there yet."""
        return len(self.missing)

    def _add(self, artifact: Artifact) -> None:
        """Take an artifact that the store lacks, with what it is made from."""
        address = artifact.address
        if address in self.missing or address in self.failures or self.store.has(*address):
            return
        before = (*artifact.inputs, *artifact.better_after)
        for one in before:
            self._add(one)
        self.missing[address] = artifact
        self._order.setdefault(address, len(self._order))
        self._wait(artifact)

    def _wait(self, artifact: Artifact) -> None:
        """Let it wait for those of its inputs that are still to be made; it is ready where there are none."""
        address = artifact.address
        if failed := next((one for one in artifact.inputs if one.address in self.failures), None):
            self._fail(artifact, artifact.refusal(failed, self.failures[failed.address]))
            return
        before = {one.address for one in (*artifact.inputs, *artifact.better_after)} & self.missing.keys()
        self._waits_for[address] = before
        for one in before:
            self._needed_by.setdefault(one, set()).add(address)
        if not before:
            entry = _Ready(self._order[address], address, artifact.together, artifact.uses_gpu)
            insort(self._ready, entry)
            insort(self._ready_with.setdefault(entry.together, []), entry)

    def next(self, last: str = "", elsewhere: Container[str] = (), *, with_gpu: bool = True) -> Artifact | None:
        """Choose what a worker makes next, with its corpora in the store; see `Choose`.

        Best is what shares the model with what it made last, so that it need not be opened again; then the first that
        no other worker has open. Without a GPU that is free, what uses one has to wait.
        """

        def first(ready: Iterable[_Ready], *, but: Container[str] = ()) -> _Ready | None:
            fit = (one for one in ready if one.together not in but and (with_gpu or not one.uses_gpu))
            return next(fit, None)

        # Not a search of all that is ready, which would take longest in the largest studies.
        own = self._ready_with.get(last, ())
        if (found := first(own) or first(self._ready, but=elsewhere) or first(self._ready)) is None:
            return None
        del self._ready[bisect_left(self._ready, found)]
        self._ready_with[found.together].remove(found)
        if not self._ready_with[found.together]:
            del self._ready_with[found.together]
        artifact = self.missing[found.address]
        for key in artifact.corpora:
            self.corpora.ensure(key)
        return artifact

    def end(self, news: Ended) -> bool:
        """Take note that the making of an artifact ended; return whether that was for good."""
        artifact, failure, is_lost = news
        address = artifact.address
        if failure == ELSEWHERE:
            self.elsewhere[address] = Watch(self.store.claim(*address))
            return False
        self._tries[address] += 1
        if self.store.has(*address):
            self._settle(artifact)
            return True
        if is_lost and self._tries[address] < MOST_TRIES:
            self._wait(artifact)
            return False
        # What it is made from may have been damaged meanwhile, and is then made again.
        damaged = sum(self.corpora.ensure(key) for key in artifact.corpora) > 0
        for one in artifact.inputs:
            if one.address not in self.missing and not self.store.has(*one.address):
                self._add(one)
                damaged = True
        if damaged and self._tries[address] < MOST_ROUNDS:
            self._wait(artifact)
            return False
        if is_lost:
            failure = f"{failure}; {about_needed(artifact, self.corpora)}; use fewer --workers"
        self._fail(artifact, failure or f"what it wrote to {self.store.root} cannot be read again; check that disk")
        return True

    def came(self) -> list[Address]:
        """Look at what other processes are making; return what is there by now. What they gave up is to do again."""
        came = []
        for address, watch in list(self.elsewhere.items()):
            if not watch.is_over():
                continue
            del self.elsewhere[address]
            if self.store.has(*address):
                came.append(address)
                self._settle(self.missing[address])
            else:
                self._wait(self.missing[address])
        return came

    def _fail(self, artifact: Artifact, why: str) -> None:
        self.failures[artifact.address] = why
        self._settle(artifact)

    def _settle(self, artifact: Artifact) -> None:
        """Let those that waited for it go on."""
        self.missing.pop(artifact.address, None)
        for address in sorted(self._needed_by.pop(artifact.address, ()), key=self._order.__getitem__):
            self._waits_for[address].discard(artifact.address)
            if address in self.missing and not self._waits_for[address]:
                self._wait(self.missing[address])


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let a polite kill (SIGTERM) end the run as Ctrl-C does, with its workers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
