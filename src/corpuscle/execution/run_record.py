"""RunRecord: what a run uses of its store, written into the store, so that `corpuscle store gc` keeps it.

::

    store/runs/<id>.json          which folder, which study, and the kinds and keys of what it uses
    store/runs/.claim-<id>        while the run is at work; see `corpuscle.core.claims`
"""

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from corpuscle.core.claims import FIRST_LOOK, LAST_LOOK, Watch, attempt, release
from corpuscle.core.components import explain
from corpuscle.core.disk import writing
from corpuscle.core.errors import CorpuscleError, FolderError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.core.paths import read_plain
from corpuscle.core.text import shortened
from corpuscle.store import CLAIM, RUNS, Store, is_store, uses_of_block, write_text

Addresses = set[tuple[str, str]]
# What the record of a run whose store is in its folder says of the folder: the two may be moved together.
OWN = ".."
# Which file of a run's folder says where its store is, and which of its results each score is from.
ARTIFACTS = "artifacts.json"


# Keys become paths in the store.
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{0,64}$")]


class _Asked(BaseModel):
    """A task's scores on a target: names in the study, keys in the store."""

    task: str
    target: str
    key: Key
    cells: Key = ""
    reference: Key = ""


class _Run(BaseModel):
    """What a run's scores are from."""

    corpus: str
    model: str
    seed: int
    model_key: Key
    cells: Key = ""
    altered: list[str] = []
    seen: dict[str, float | None] = {}
    scores: list[_Asked]


class _Document(BaseModel):
    """The document ``artifacts.json``."""

    store: str = "store"
    runs: list[_Run]


class Referrer(NamedTuple):
    """A run that uses a store, as its record says."""

    record: Path
    folder: Path
    study: str
    wants: Addresses

    @property
    def claim(self) -> Path:
        """Where its claim is while it is at work."""
        return self.record.with_name(f"{CLAIM}{self.record.stem}")

    @property
    def is_gone(self) -> bool:
        """Whether its folder was removed; not if the disk may only not be there: then the place is missing, too."""
        return not self.folder.exists() and self.folder.parent.exists()


class RunRecord:
    """What a run at work uses of its store; see `recording`."""

    def __init__(self, store: Store, folder: Path, study: str) -> None:
        own = _real(folder / "store") == _real(store.root)
        self.folder = OWN if own else str(_real(folder))
        self.path = store.root / RUNS / f"{fingerprint('run', self.folder)}.json"
        self.study, self.used = study, Addresses()

    @property
    def claim(self) -> Path:
        """Where its claim is while it is at work."""
        return self.path.with_name(f"{CLAIM}{self.path.stem}")

    @property
    def is_own(self) -> bool:
        """Whether the store is the folder's own: no other run uses it."""
        return self.folder == OWN

    def refer(self, addresses: Iterable[tuple[str, str]] = (), *, only: bool = False) -> None:
        """Write what the run uses: what it used until now, and more; and what its record has, but for `only`."""
        before = Addresses()
        if not only and self.path.exists():
            before = read_record(self.path).wants
        wants = sorted({*before, *self.used, *addresses})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, json.dumps({"folder": self.folder, "study": self.study, "wants": wants}))


@contextmanager
def recording(store: Store, folder: Path, study: str) -> Iterator[RunRecord]:
    """Record that a run uses a store, and that it is at work while the block lasts.

    Raises
    ------
    FolderError
        When another process, maybe of another machine, runs in the same folder.
    """
    record = RunRecord(store, folder, study)
    claim = record.claim
    with writing(claim):
        token = _claim(claim, folder)
    try:
        with uses_of_block() as used:
            record.used = used
            try:
                yield record
            except BaseException:
                # What an interrupted run prepared is of use when it goes on.
                with contextlib.suppress(CorpuscleError):
                    record.refer()
                raise
            record.refer()
    finally:
        release(claim, token)


def _claim(claim: Path, folder: Path) -> str:
    """Claim the folder of a run, unless another process is at work there: its claim changes while it is watched."""
    watch, pause = Watch(claim), FIRST_LOOK
    while (token := attempt(claim)) is None:
        if not watch.is_over():
            if watch.is_alive:
                raise FolderError(
                    f"{folder} is in use by another run ({watch.owner}); wait for it, or choose another folder"
                )
            time.sleep(pause)
            pause = min(2 * pause, LAST_LOOK)
    return token


def referrers(root: Path) -> list[Referrer]:
    """Return the runs that a store was used by.

    Raises
    ------
    FolderError
        When a record cannot be read: then it is not known what is used.
    """
    return [read_record(path) for path in sorted((root / RUNS).glob("*.json")) if not path.name.startswith(".")]


def read_record(path: Path) -> Referrer:
    """Read the record of a run."""
    try:
        found = json.loads(read_plain(path))
        folder = path.parents[2] if found["folder"] == OWN else Path(found["folder"])
        return Referrer(path, folder, str(found["study"]), {(str(kind), str(key)) for kind, key in found["wants"]})
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        raise FolderError(
            f"{path}: the record of a run that uses the store cannot be read ({type(error).__name__}); remove it, and "
            "run the studies of this store again, which record themselves anew"
        ) from error


def store_of(folder: Path, given: Path | None = None) -> Path:
    """Return where a run's store is: where it is given, or else where it was, or else in the folder.

    Raises
    ------
    FolderError
        When what is given is something else than a store, or the folder's ``artifacts.json`` cannot be read.
    """
    if given is None:
        where = read_artifacts(folder).get("store", "store")
        return folder / str(where)
    if given.exists() and not (given.is_dir() and (is_store(given) or not any(given.iterdir()))):
        raise FolderError(f"{given}: expected a store, or a new or empty folder for one")
    return given


def read_artifacts(folder: Path) -> dict[str, Any]:
    """Read what `write_artifacts` wrote; empty where nothing did.

    Raises
    ------
    FolderError
        When it cannot be read.
    """
    path = folder / ARTIFACTS
    try:
        found = json.loads(read_plain(path))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise FolderError(f"{path}: cannot be read ({error}); remove it, and run the study there again") from None
    try:
        return _Document.model_validate(found, strict=True).model_dump()
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        why = f"{'.'.join(map(str, fault['loc'])) or 'it'}: {shortened(explain(fault, ()))}"
        raise FolderError(f"{path}: cannot be read ({why}); remove it, and run the study there again") from None


def _real(path: Path) -> Path:
    with contextlib.suppress(OSError):
        return Path(os.path.realpath(path))
    return path
