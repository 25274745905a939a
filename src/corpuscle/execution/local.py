"""Local: artifacts made by processes of this machine, one each at a time, or by this process itself."""

import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import contextmanager
from dataclasses import dataclass

from corpuscle.corpus.stored import StoredCorpora
from corpuscle.execution.artifact import Artifact
from corpuscle.execution.executor import Choose
from corpuscle.execution.workers import Ended, ThisProcess, Update, Worker, gpus_of, pool_of


@dataclass(frozen=True)
class LocalProcesses:
    """So many processes of this machine; 0: this one.

    Every worker is a pool of its own with one process: when a process is killed, only its own artifact is lost, and it
    is known which one that was.
    """

    n_workers: int

    @contextmanager
    def pool(self, corpora: StoredCorpora, missing: Collection[Artifact]) -> Iterator["LocalPool"]:
        """Start the processes, no more than there are artifacts; see `Executor.pool`."""
        store = corpora.store
        with pool_of(min(self.n_workers, len(missing)), store.root, store.errors) as workers:
            yield LocalPool(workers, gpus_of(workers) if any(artifact.uses_gpu for artifact in missing) else [])


class LocalPool:
    """Workers of this machine, and the GPUs that they share: each has one artifact at a time."""

    def __init__(self, workers: "Sequence[Worker | ThisProcess]", gpus: Sequence[str]) -> None:
        self.workers, self.gpus = workers, gpus

    @property
    def is_busy(self) -> bool:
        """Whether a worker is."""
        return any(worker.artifact for worker in self.workers)

    def take(self, choose: Choose) -> None:
        """Give every worker that is free something to make; best is what it need not open anew."""
        for worker in self.workers:
            if worker.artifact is not None:
                continue
            elsewhere = {other.last for other in self.workers if other is not worker and other.artifact is not None}
            free = Counter(self.gpus) - Counter(other.gpu for other in self.workers if other.artifact)
            if artifact := choose(worker.last, elsewhere, with_gpu=bool(free or not self.gpus)):
                worker.begin(artifact, next(iter(free), "") if artifact.uses_gpu else "")

    def news(self, seconds: float) -> Iterator[Update | Ended]:
        """Yield what the workers report; see `Pool.news`."""
        if busy := [worker.future for worker in self.workers if worker.artifact]:
            wait(busy, timeout=seconds, return_when=FIRST_COMPLETED)
        else:
            time.sleep(seconds)
        for worker in self.workers:
            yield from worker.news()
            if worker.has_ended:
                yield worker.end()
