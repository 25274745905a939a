"""Connection: a Dask scheduler, and which of its workers may be used: those that would make what this process would."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from corpuscle.core.errors import CorpuscleError, InputError
from corpuscle.corpus.stored import StoredCorpora
from corpuscle.execution.artifact import Artifact
from corpuscle.execution.cluster.settings import Slurm, settings
from corpuscle.execution.cluster.terms import PACKAGES, Terms, differing, own_code, own_versions, unmet

if TYPE_CHECKING:
    from distributed import Client

    from corpuscle.execution.cluster.pool import DaskPool

# How long a scheduler, and each of its workers, is waited for.
CONNECT_SECONDS, ANSWER_SECONDS = 10, 25


class ClusterError(CorpuscleError):
    """A cluster was lost while it worked; what was made is kept."""


class Cluster:
    """A scheduler with its workers, of which `pool` makes use; see `Executor`.

    Attributes
    ----------
    client
        The connection.
    terms
        What workers must have.
    refused
        Workers that lack something, by address, and what.
    said
        Called with lines for people.
    """

    def __init__(
        self,
        client: "Client",
        name: str,
        said: Callable[[str], None],
        table: Slurm | None = None,
        logs: Path | None = None,
    ) -> None:
        self.client, self.name, self.said, self.table, self.logs = client, name, said, table, logs
        self.terms = Terms(own_versions(), own_code())
        self.refused: dict[str, str] = {}
        self.paths = tuple(str(Path(path).absolute()) for path in sys.path if path and Path(path).is_dir())
        self.folder = os.getcwd()  # noqa: PTH109  # as text
        self.topic = f"corpuscle-{uuid4().hex[:12]}"

    def again(self, said: Callable[[str], None]) -> "Cluster":
        """Return the same scheduler for another run, whose files its workers are asked for anew."""
        return Cluster(self.client, self.name, said, self.table, self.logs)

    @contextmanager
    def pool(self, corpora: StoredCorpora, missing: Collection[Artifact]) -> Iterator["DaskPool"]:
        """Open a pool; see `Executor.pool`."""
        from corpuscle.execution.cluster.pool import DaskPool

        pool = DaskPool(self, corpora)
        try:
            yield pool
        finally:
            pool.close()

    def workers(self) -> dict[str, dict[str, Any]]:
        """Return what the scheduler says of its workers, by address; empty where it does not answer."""
        if self.client.status != "running":
            return {}
        try:
            return dict(self.client.scheduler_info(n_workers=-1)["workers"])
        except (OSError, TimeoutError):
            return {}

    def submitted(self) -> list[str]:
        """Return the numbers of SLURM's jobs that this run submitted and did not end itself; none without SLURM."""
        if self.table is None:
            return []
        # What was submitted and has no number yet is not known to SLURM either.
        return [job.job_id for job in list(self.client.cluster.workers.values()) if job.job_id]

    def require(self, probe: Path | None = None, sources: Sequence[Path] = ()) -> None:
        """Let workers be used only if they see some files; ask those that are there.

        Parameters
        ----------
        probe
            A file in the store, whose content no other store has.
        sources
            Files and folders that must be there.

        Raises
        ------
        InputError
            When a worker lacks something; the message names it.
        """
        probes = self.terms.probes
        if probe is not None:
            probe = probe.absolute()
            probes = (*probes, (str(probe), probe.read_text(encoding="utf-8")))
        paths = tuple(str(path.absolute()) for path in sources)
        self.terms = self.terms._replace(probes=probes, sources=(*self.terms.sources, *paths))
        self.ask()
        if self.refused:
            address, why = next(iter(self.refused.items()))
            raise InputError(f"worker {self.named(address)} cannot be used: {why}")

    def ask(self) -> None:
        """Ask all workers whether they have what they must; note those that lack something."""
        workers = [address for address in self.workers() if address not in self.refused]
        if not workers:
            return
        versions = self._asked(self.client._get_versions, packages=[*PACKAGES, "corpuscle"])["workers"]
        for address in workers:
            found = versions.get(address)
            if why := _unlike_ours(found) if found else "":
                self.refused[address] = why
        left = [address for address in workers if address not in self.refused]
        answers = self._asked(self.client._run, unmet, self.terms, workers=left, on_error="return") if left else {}
        for address, answer in answers.items():
            if isinstance(answer, BaseException):
                self.refused[address] = f"it cannot run this command's code ({type(answer).__name__}: {answer})"
            elif answer:
                self.refused[address] = answer

    def _asked(self, question: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Ask workers, which may be stopped, or on a machine that is away."""
        try:
            return self.client.sync(question, *arguments, callback_timeout=ANSWER_SECONDS, **named)
        except TimeoutError:
            raise InputError(
                f"workers of {self.name} do not answer within {ANSWER_SECONDS} s; look at the dashboard, and end those "
                "that hang"
            ) from None

    def end_processes(self) -> None:
        """Let workers end the processes that wait for more; who does not answer ends them a minute later."""
        from corpuscle.execution.cluster.on_worker import end_idle_processes

        workers = [address for address in self.workers() if address not in self.refused]
        if workers:
            with suppress(InputError, OSError):
                self._asked(self.client._run, end_idle_processes, workers=workers, on_error="ignore")

    def named(self, address: str) -> str:
        """Return a worker's name and host, for people."""
        found = self.workers().get(address, {})
        name = str(found.get("name") or address)
        return f"{name} ({address})" if name != address else address

    def refuse(self, address: str, why: str) -> None:
        """Use a worker no longer.

        Raises
        ------
        InputError
            When no other is left.
        """
        if address in self.refused:
            return
        self.refused[address] = why
        self.said(f"Worker {self.named(address)} is not used: {why}")
        if not set(self.workers()) - set(self.refused):
            raise InputError(f"no worker of {self.name} can be used: {why}. What was made is kept")


def _unlike_ours(found: Any) -> str:
    """Return in words how a worker's versions differ, by what Dask itself asks: nothing of ours need run there."""
    theirs = {name: version or "missing" for name, version in found["packages"].items()}
    ours = dict(own_versions())
    python = ".".join(str(found["host"]["python"]).split(".")[:3])
    if theirs["corpuscle"] == "missing":
        return "corpuscle is not installed there; start workers from the same environment as this command"
    listed = [("Python", python), *((name, theirs[name]) for name in PACKAGES)]
    problem = differing(listed, [(name, ours[name]) for name, _ in listed])
    return f"{problem}; start workers from the same environment as this command" if problem else ""


@contextmanager
def connected(given: str | Path, logs: Path, said: Callable[[str], None]) -> Iterator[Cluster]:
    """Connect with a scheduler, or start one with SLURM's jobs as its workers, while the block lasts.

    Parameters
    ----------
    given
        Where it is; see `settings`.
    logs
        Where logs of SLURM's jobs go.
    said
        Called with lines for people.

    Raises
    ------
    InputError
        When it cannot be used.
    """
    where, logs = settings(given), logs.absolute()
    try:
        from distributed import Client
    except ImportError:
        raise InputError("--cluster needs the extra cluster: pip install 'corpuscle[cluster]'") from None
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        if isinstance(where, Slurm):
            cluster = Cluster(*_with_jobs(stack, where, logs), said, where, logs)
        else:
            try:
                _ask_whether_it_is_a_scheduler(where)
                client = stack.enter_context(Client(where, timeout=CONNECT_SECONDS, set_as_default=False))
            except Exception as error:
                raise InputError(f"--cluster {where}: no Dask scheduler answers there ({_gist(error)})") from None
            cluster = Cluster(client, where, said)
        said(f"Cluster: {cluster.name}; dashboard: {cluster.client.dashboard_link}")
        cluster.require()
        try:
            yield cluster
        finally:
            cluster.end_processes()


def _ask_whether_it_is_a_scheduler(address: str) -> None:
    """Raise an error unless a scheduler answers; Dask's client waits for ever for one that says nothing.

    On a thread of its own, as a notebook has a loop in this one.
    """
    from distributed.comm import connect

    async def kind() -> str:
        async with asyncio.timeout(CONNECT_SECONDS):
            comm = await connect(address, timeout=CONNECT_SECONDS)
            try:
                await comm.write({"op": "identity", "reply": True})
                return str((await comm.read())["type"])
            finally:
                comm.abort()

    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(lambda: asyncio.run(kind())).result()
    if found != "Scheduler":
        raise OSError(f"it is a {found}")


def _with_jobs(stack: ExitStack, table: Slurm, logs: Path) -> tuple["Client", str]:
    """Start a scheduler for SLURM's jobs; return the connection, and its name for people."""
    from distributed import Client

    try:
        import dask_jobqueue  # noqa: F401  # asked for here, for one message

        from corpuscle.execution.cluster.jobs import slurm_jobs
    except ImportError:
        raise InputError("--cluster slurm needs the extra cluster: pip install 'corpuscle[cluster]'") from None
    jobs = stack.enter_context(slurm_jobs(table, logs))
    client = stack.enter_context(Client(jobs, timeout=CONNECT_SECONDS, set_as_default=False))
    return client, f"SLURM, up to {table.maximum} jobs"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's tracebacks off the terminal: what they are about ends in one message."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in ("distributed", "tornado")]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _gist(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing within {CONNECT_SECONDS} s"
    if not isinstance(error, OSError | ValueError | TypeError):
        return "something else does"
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__
