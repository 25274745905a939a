"""Pool: artifacts are sent to a scheduler as soon as they can be made; it gives them to workers that have room.

A worker may be killed, closed by a time limit, or lose its power: what it was making is made again elsewhere, and a
training goes on from its last checkpoint. Only where that happens again before the artifact came further is it given
up.
"""

import pickle
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from distributed.scheduler import KilledWorker

from corpuscle.core.errors import InputError
from corpuscle.corpus.stored import StoredCorpora
from corpuscle.execution.artifact import Artifact
from corpuscle.execution.cluster.connection import Cluster, ClusterError
from corpuscle.execution.cluster.on_worker import BEGUN, BYTES, GPU, Answer, Job, Where, make_artifact
from corpuscle.execution.cluster.terms import appears
from corpuscle.execution.executor import MOST_TRIES, Choose
from corpuscle.execution.needs import memory_needed
from corpuscle.execution.workers import Ended, Update

if TYPE_CHECKING:
    from distributed import Future

# How often the cluster is looked at, and after how long without a worker people hear of it.
LOOK_SECONDS, ALONE_SECONDS = 2.0, 10.0
# For how long what another machine made is waited for, until this one's network file system shows it.
APPEAR_SECONDS = 60.0
# How much further an artifact must have come when its worker is lost so that this does not count as a failure.
LEAST_PROGRESS = 0.01
# Of a GPU's memory, what models may take by what is known of them; and the smallest share that is given.
GPU_MEMORY_SHARE, LEAST_GPU_SHARE = 0.8, 0.125


@dataclass
class _Sent:
    """An artifact that was sent: how far it is, how often it was lost without coming further, and who has it."""

    artifact: Artifact
    share: float = 0.0
    best: float = 0.0
    losses: int = 0
    has_begun: bool = False
    where: Where | None = None
    future: "Future[Answer] | None" = None
    workers: tuple[str, ...] = ()


class DaskPool:
    """What the engine gives artifacts to, for the workers of a cluster; see `Pool`."""

    def __init__(self, cluster: Cluster, corpora: StoredCorpora) -> None:
        self.cluster, self.corpora = cluster, corpora
        self.topic = f"{cluster.topic}-{uuid4().hex[:6]}"
        self._sent: dict[str, _Sent] = {}
        self._last: dict[str, str] = {}
        self._happened: SimpleQueue[Any] = SimpleQueue()
        self._looked, self._alone_since, self._n_sent = 0.0, time.monotonic(), 0
        self._workers: dict[str, dict[str, Any]] = {}
        self._has_worked, self._all_ended, self._is_said, self._asked = False, False, False, time.monotonic()
        cluster.client.subscribe_topic(self.topic, lambda event: self._happened.put(event[1]))
        self._look()

    @property
    def is_busy(self) -> bool:
        """Whether something was sent and did not come back."""
        return bool(self._sent)

    def take(self, choose: Choose) -> None:
        """Send all that can be made: who makes it, and when, is the scheduler's to decide."""
        while (artifact := choose()) is not None:
            self._send(_Sent(artifact))

    def news(self, seconds: float) -> Iterator[Update | Ended]:
        """Yield what workers report; see `Pool.news`.

        Raises
        ------
        ClusterError
            When the scheduler is gone.
        InputError
            When no worker can be used.
        """
        self._look()
        until: float = seconds
        while True:
            try:
                happened = self._happened.get(timeout=until)
            except Empty:
                return
            # Whatever else is there already, and no longer.
            until = 0.0001
            if isinstance(happened, dict):
                yield from self._progressed(happened["key"], happened["share"], happened["where"])
            elif happened in self._sent:
                yield from self._came_back(happened)

    def close(self) -> None:
        """Give up what is being made; workers stop when nobody waits for it."""
        for one in self._sent.values():
            if one.future is not None:
                one.future.release()
        self._sent.clear()
        if self.cluster.client.status == "running":
            self.cluster.client.unsubscribe_topic(self.topic)

    def _send(self, one: _Sent) -> None:
        """Send an artifact to the scheduler."""
        artifact, cluster, store = one.artifact, self.cluster, self.corpora.store
        resources = self._resources(artifact)
        job = Job(
            pickle.dumps(artifact),
            artifact.together,
            str(store.root.absolute()),
            str(store.errors.absolute()),
            cluster.terms,
            self.topic,
            cluster.paths,
            cluster.folder,
            artifact.uses_gpu,
            resources.get(GPU, 0.0),
        )
        key = f"{artifact.kind}-{uuid4().hex}"
        one.has_begun, one.where, one.workers = False, None, ()
        where: dict[str, Any] = {}
        if cluster.refused:
            one.workers = tuple(address for address in self._workers if address not in cluster.refused)
            where = {"workers": list(one.workers)}
        elif (last := self._last.get(artifact.together)) in self._workers and self._all_offer(resources):
            # Whoever has the model open, unless others have nothing to do.
            where = {"workers": [last], "allow_other_workers": True}
        self._sent[key], self._n_sent = one, self._n_sent + 1
        # In the order of the plan: what was sent first goes first.
        one.future = cluster.client.submit(
            make_artifact, job, key=key, pure=False, resources=resources, priority=-self._n_sent, **where
        )
        one.future.add_done_callback(lambda future: self._happened.put(future.key))

    def _resources(self, artifact: Artifact) -> dict[str, float]:
        """Return what a worker must have free, of what workers offer at all."""
        table, offered = self.cluster.table, dict[str, float]()
        for worker in self._workers.values():
            for name, amount in worker["resources"].items():
                offered[name] = max(offered.get(name, 0.0), amount)
        if table is not None:
            offered |= {BYTES: float(table.memory), **({GPU: float(table.gpus)} if table.gpus else {})}
        memory, needed = memory_needed(artifact, self.corpora), {}
        if BYTES in offered:
            # What is thought to need more than any worker has is tried on a whole one.
            needed[BYTES] = min(float(memory), offered[BYTES])
        if artifact.uses_gpu and offered.get(GPU):
            needed[GPU] = gpu_share(memory, table.gpu_memory if table else None)
        return needed

    def _all_offer(self, resources: dict[str, float]) -> bool:
        """Return whether every worker could have a task: one that may go to others may go to any."""
        return all(
            worker["resources"].get(name, 0.0) >= amount
            for worker in self._workers.values()
            for name, amount in resources.items()
        )

    def _progressed(self, key: str, share: float, where: list[str]) -> Iterator[Update | Ended]:
        """Take note of what a worker reports."""
        one = self._sent.get(key)
        if one is None:
            return
        if share != BEGUN:
            one.share = share
            yield Update(one.artifact.address, share)
            return
        before, one.where = one.where, Where(*where)
        if one.has_begun and self._is_lost_for_good(one):
            assert one.future is not None, "it was sent"
            one.future.release()
            del self._sent[key]
            yield Ended(one.artifact, self._lost(one, before, "its worker was lost"))
        one.has_begun = True

    def _is_lost_for_good(self, one: _Sent) -> bool:
        """Count a loss; return whether it was one too many. Who came further is given another chance."""
        one.losses = 1 if one.share >= one.best + LEAST_PROGRESS else one.losses + 1
        one.best = max(one.best, one.share)
        return one.losses >= MOST_TRIES

    def _came_back(self, key: str) -> Iterator[Update | Ended]:
        """Take what came back of an artifact; what was lost, or refused, is sent again."""
        one = self._sent.pop(key)
        future = one.future
        assert future is not None, "it was sent"
        if future.status == "cancelled":
            raise self._gone()
        if future.status == "error":
            yield from self._broke(one, future.exception())
            return
        answer = future.result()
        if answer.refused:
            self.cluster.refuse(answer.where.address, answer.refused)
            self._send(one)
            return
        one.where = answer.where
        self._last[one.artifact.together] = answer.where.address
        if answer.is_lost and not self._is_lost_for_good(one):
            self._send(one)
        elif answer.is_lost:
            yield Ended(one.artifact, self._lost(one, one.where, answer.failure or "it was lost"))
        else:
            if answer.failure is None:
                appears(self.corpora.store.folder(*one.artifact.address), APPEAR_SECONDS)
            yield Ended(one.artifact, answer.failure)

    def _broke(self, one: _Sent, error: BaseException | None) -> Iterator[Ended]:
        """Take an artifact of which Dask says that it failed: workers were killed, or could not read what was sent."""
        if isinstance(error, KilledWorker):
            text = f"{error.allowed_failures + 1} workers were killed while they had it"
            killed = error.last_worker
            where = Where(killed.address, str(killed.name), killed.host, "")
            if self._is_lost_for_good(one):
                yield Ended(one.artifact, self._lost(one, one.where or where, text))
                return
        else:
            text = f"{type(error).__name__}: {error}"
            refused = set(self.cluster.refused)
            self.cluster.ask()
            for address in self.cluster.refused.keys() - refused:
                self.cluster.refuse(address, self.cluster.refused.pop(address))
            if refused == set(self.cluster.refused) and self._is_lost_for_good(one):
                yield Ended(one.artifact, text)
                return
        self._send(one)

    def _lost(self, one: _Sent, where: Where | None, why: str) -> str:
        """Return in words what became of an artifact whose worker was killed, and where to look."""
        needed = memory_needed(one.artifact, self.corpora)
        found = [why, *([f"last on {self._place(where)}"] if where else [])]
        found.append(f"it needs about {needed / 1e9:.1f} GB by what is known of its models and cells")
        if self.cluster.table is not None:
            found.append(f"a job has {self.cluster.table.memory / 1e9:.1f} GB and {self.cluster.table.time} of time")
        return "; ".join(found)

    def _place(self, where: Where) -> str:
        name = where.name if where.name == where.address else f"{where.name} ({where.address})"
        if where.slurm_job and self.cluster.logs is not None:
            from corpuscle.execution.cluster.jobs import log_of

            return f"{where.host}, job {where.slurm_job}, whose log is {log_of(self.cluster.logs, where.slurm_job)}"
        return f"{where.host}, worker {name}, whose log is where it was started"

    def _look(self) -> None:
        """Look at the cluster now and then: whether it is there, and who is in it."""
        now, client = time.monotonic(), self.cluster.client
        if client.status in ("closed", "connecting"):
            raise self._gone()
        if now < self._looked + LOOK_SECONDS:
            return
        self._looked, self._workers = now, self.cluster.workers()
        if set(self._workers) - set(self.cluster.refused):
            self._alone_since, self._has_worked = now, True
        elif self._sent and self._alone_since and now > self._alone_since + ALONE_SECONDS:
            self._alone_since = 0.0
            self.cluster.said(f"Waiting for workers of {self.cluster.name}; the work begins when there is one")
        if self._sent and not self._has_worked and self.cluster.logs is not None and now > self._asked + ALONE_SECONDS:
            self._asked = now
            self._refuse_jobs_that_end(self.cluster.logs)
        # What may only go to workers that are all gone goes to others.
        for key, one in list(self._sent.items()):
            if one.workers and not set(one.workers) & set(self._workers):
                del self._sent[key]
                if one.future is not None:
                    one.future.release()
                self._send(one)

    def _refuse_jobs_that_end(self, logs: Path) -> None:
        """Report jobs that ended though none ever worked; give up where no other is there, as the next would end alike.

        Raises
        ------
        InputError
            When twice in a row all jobs of this run are over.
        """
        from corpuscle.execution.cluster.jobs import ended_jobs

        ended, others = ended_jobs(logs, self.cluster.submitted())
        if ended and not self._is_said:
            self._is_said = True
            self.cluster.said(f"{ended[-1]}")
        if ended and not others and self._all_ended:
            raise InputError(f"--cluster: {ended[-1]}. Fix what a job is to have; the same command then goes on")
        self._all_ended = bool(ended) and not others

    def _gone(self) -> ClusterError:
        return ClusterError(
            f"the Dask scheduler of {self.cluster.name} is gone: it was ended, or cannot be reached. What was made is "
            "kept; the same command goes on when it is there again"
        )


def gpu_share(memory: int, gpu_memory: int | None) -> float:
    """Return which share of a GPU an artifact is given: all of it, unless it is known to be small.

    Parameters
    ----------
    memory
        About how many bytes it takes.
    gpu_memory
        How many a GPU has; None: that is not known.

    Examples
    --------
    >>> gpu_share(30_000_000_000, 40_000_000_000), gpu_share(5_000_000_000, 40_000_000_000), gpu_share(1, None)
    (1.0, 0.25, 1.0)
    """
    share = 1.0
    while gpu_memory and share > LEAST_GPU_SHARE and memory <= GPU_MEMORY_SHARE * gpu_memory * share / 2:
        share /= 2
    return share
