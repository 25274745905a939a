"""Upkeep: what is in a store, whether it is whole, and what of it nobody needs; for `corpuscle store`."""

import json
import os
import re
import shutil
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from corpuscle.core.claims import LAST_LOOK, Watch
from corpuscle.core.disk import discard, writing
from corpuscle.core.errors import FolderError
from corpuscle.core.paths import read_plain
from corpuscle.execution.run_record import Referrer, read_artifacts, referrers, store_of
from corpuscle.store import CHECKSUMS, CLAIM, MADE, PARTIAL, RUNS, Store, damage_of, is_store

Address = tuple[str, str]
# What results are named: a fingerprint.
KEY = re.compile(r"[0-9a-f]{16}")
# Below the root, these hold no results.
NO_KINDS = {RUNS, "unfinished"}
# What is only asked of a model, and kept with its other results.
OF_A_MODEL = {"embeddings", "fine_tuned", "maps"}
# How much longer than a run at work something must have been left alone to be removed: clocks of disks are coarse.
MARGIN_NS = 60_000_000_000


@dataclass(frozen=True)
class Kept:
    """A result in a store."""

    kind: str
    key: str
    folder: Path

    @property
    def address(self) -> Address:
        """What it is called."""
        return self.kind, self.key

    @cached_property
    def record(self) -> dict[str, Any]:
        """How it was made; empty where that is not known: it is damaged, or of an earlier version."""
        try:
            found = json.loads(read_plain(self.folder / MADE))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def label(self) -> str:
        """What it is, for people."""
        return str(self.record.get("label", ""))

    @property
    def uses(self) -> set[Address]:
        """What it is made from."""
        listed = self.record.get("uses", [])
        return {(str(one[0]), str(one[1])) for one in listed if isinstance(one, list) and len(one) == 2}

    @cached_property
    def n_bytes(self) -> int:
        """How much of the disk its files take."""
        return size_of(self.folder)


def size_of(path: Path) -> int:
    """Add up the sizes of files below a path; what disappears meanwhile has none, and links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return _size(path)
    return sum(_size(Path(folder) / name) for folder, _, names in os.walk(path) for name in names)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def open_store(path: Path) -> Store:
    """Return the store at a path, or that of the run whose folder it is.

    Raises
    ------
    FolderError
        When there is neither.
    """
    if is_store(path):
        return Store(path)
    if path.is_dir() and is_store(found := store_of(path)):
        return Store(found)
    raise FolderError(f"{path}: expected the folder of a run, or a store; there is no store")


class Contents:
    """All results of a store, and the runs that use them.

    Attributes
    ----------
    kept
        The results, by kind and key.
    runs
        The runs that are recorded.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.runs = referrers(store.root)
        wanted = {address for run in self.runs for address in run.wants}
        self.kept = {one.address: one for one in _results(store.root, wanted)}

    def needed(self, wanted: Iterable[Address]) -> set[Address]:
        """Return what is there of what is wanted, and of all that it is made from."""
        found, ahead = set[Address](), list(wanted)
        while ahead:
            address = ahead.pop()
            if address in self.kept and address not in found:
                found.add(address)
                ahead += self.kept[address].uses
        return found

    @cached_property
    def users(self) -> dict[Address, list[Referrer]]:
        """The runs that use each result, directly or through others."""
        users: dict[Address, list[Referrer]] = {address: [] for address in self.kept}
        for run in self.runs:
            for address in self.needed(run.wants):
                users[address].append(run)
        return users

    def damaged(self) -> dict[Kept, str]:
        """Read everything; return what is damaged, and how. It is left as it is.

        Raises
        ------
        FolderError
            When something may not be read.
        """
        found = ((one, damage_of(one.folder)[0]) for one in self.kept.values())
        # What another process removed or made again meanwhile was not damaged.
        return {one: why for one, why in found if why is not None and one.folder.exists()}

    def bytes_by_model(self) -> dict[tuple[str, str], int]:
        """Return what each corpus and model (by their names in a run) takes: models, scores, maps, embeddings."""
        owners: dict[Address, tuple[str, str]] = {}
        for run in self.runs:
            for one in read_artifacts(run.folder).get("runs", []):
                keys = [("models", one["model_key"]), *(("scores", asked["key"]) for asked in one["scores"])]
                for address in keys:
                    owners.setdefault(address, (one["corpus"], one["model"]))
        for address, owner in list(owners.items()):
            uses = self.kept[address].uses if address in self.kept else set()
            for used in uses:
                if used[0] in OF_A_MODEL:
                    owners.setdefault(used, owner)
        for address, one in self.kept.items():
            models = [used for used in one.uses if used[0] == "models" and used in owners]
            if address[0] in OF_A_MODEL and models:
                owners.setdefault(address, owners[models[0]])
        found: dict[tuple[str, str], int] = {}
        for address, owner in owners.items():
            if address in self.kept:
                found[owner] = found.get(owner, 0) + self.kept[address].n_bytes
        return found


def _results(root: Path, wanted: Collection[Address]) -> list[Kept]:
    """List what is a result: named like one, sealed or recorded, or wanted by a run. All else is somebody's own."""
    kinds = [entry for entry in sorted(root.iterdir()) if _is_folder(entry) and entry.name not in NO_KINDS]
    return [
        Kept(kind.name, folder.name, folder)
        for kind in kinds
        if not kind.name.startswith(".")
        for folder in sorted(kind.iterdir())
        if not folder.name.startswith(".") and (_is_result(folder) or (kind.name, folder.name) in wanted)
    ]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_result(path: Path) -> bool:
    if path.is_symlink():
        return False
    return bool(KEY.fullmatch(path.name)) or (path / CHECKSUMS).exists() or (path / MADE).exists()


class Freed(NamedTuple):
    """What `collect` removed, or would remove.

    Attributes
    ----------
    by_kind
        Numbers of results and bytes, by kind; what was half-made is "half-made".
    runs
        The folders that are gone, whose results nobody else uses.
    at_work
        The runs that are at work, in words.
    left
        Results and bytes that no run uses, and that a run at work may be using.
    """

    by_kind: Mapping[str, tuple[int, int]]
    runs: Collection[Path]
    at_work: Collection[str]
    left: tuple[int, int]


@dataclass
class _Tally:
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, kind: str, n_bytes: int) -> None:
        n, total = self.counts.get(kind, (0, 0))
        self.counts[kind] = n + 1, total + n_bytes


def collect(store: Store, *, dry_run: bool = False) -> Freed:
    """Remove what no run uses, and what was half-made by processes that are gone.

    A run is known by its record in the store. It uses what its plan has, what it prepared, and all that these are made
    from. While a run is at work, what was made or taken up after it began stays, too.

    Parameters
    ----------
    store
        The store.
    dry_run
        Only return what would be removed.

    Raises
    ------
    FolderError
        When it is not known what is used: no run is recorded, or a record cannot be read.
    """
    claims = claims_in(store.root, dry_run=dry_run)
    contents = Contents(store)
    gone = [run for run in contents.runs if run.is_gone and run.claim not in claims]
    if not contents.runs:
        raise FolderError(
            f"{store.root}: no run is recorded there, so it is not known what is of use; run the studies of this store "
            "again, which record themselves and make nothing anew"
        )
    needed = contents.needed(address for run in contents.runs if run not in gone for address in run.wants)
    if any(not contents.kept[address].record for address in needed):
        # Of what was made by an earlier version it is not known what it is made from.
        needed |= {address for address, one in contents.kept.items() if not one.record}
    working = {run: claims[run.claim] for run in contents.runs if run.claim in claims}
    # A run that began just now may have no record yet.
    at_work = {path: owner for path, owner in claims.items() if path.parent.name == RUNS}
    before = min((owner.owner.begun for owner in at_work.values()), default=None)
    freed, left = _Tally(), _Tally()
    for address, one in contents.kept.items():
        if address in needed or store.claim(*address) in claims:
            continue
        n_bytes = one.n_bytes
        if _is_in_use(one.folder, before) or not (dry_run or remove(one.folder, before)):
            left.add("", n_bytes)
        else:
            freed.add(one.kind, n_bytes)
    for path, n_bytes in _half_made(store, contents, claims, needed):
        freed.add("half-made", n_bytes)
        if not dry_run:
            discard(path)
    if not dry_run:
        for run in gone:
            run.record.unlink(missing_ok=True)
    names = [f"{run.study} in {run.folder} ({watch.owner})" for run, watch in working.items()]
    names += [f"{watch.owner}" for path, watch in at_work.items() if watch not in working.values()]
    return Freed(freed.counts, [run.folder for run in gone], names, left.counts.get("", (0, 0)))


def claims_in(root: Path, *, dry_run: bool) -> dict[Path, Watch]:
    """Return the claims of processes that are there; those of others are removed, after watching them for a while."""
    watches = {path: Watch(path) for path in root.glob(f"*/{CLAIM}*")}
    if dry_run:
        for watch in watches.values():
            watch.look()
        return {path: watch for path, watch in watches.items() if not watch.owner.has_ended}
    unknown = dict(watches)
    while unknown:
        for path, watch in list(unknown.items()):
            if watch.is_over():
                del watches[path], unknown[path]
            elif watch.is_alive:
                del unknown[path]
        if unknown:
            time.sleep(LAST_LOOK)
    return watches


def _half_made(
    store: Store, contents: Contents, claims: Mapping[Path, Watch], needed: set[Address]
) -> list[tuple[Path, int]]:
    """Return what was begun by processes that are gone, with sizes in bytes."""
    tokens = {watch.owner.token for watch in claims.values()}
    keys = {path.name.removeprefix(CLAIM) for path in claims}
    here = [path for path in store.root.glob(f"*/{PARTIAL}*") if not path.parent.is_symlink()]
    found = [path for path in here if path.name.rpartition("-")[2] not in tokens]
    # A training that was interrupted goes on from there, if a run that is not complete wants it.
    wanted = {address for run in contents.runs for address in run.wants}
    if wanted <= needed:
        found += [path for path in store.root.glob("unfinished/*") if path.name not in keys]
    if any(path.parent.name == RUNS for path in claims):
        found = [path for path in found if path.parent.name not in NO_KINDS]
    return [(path, size_of(path)) for path in found]


def _is_in_use(folder: Path, before: int | None) -> bool:
    """Return whether a result was made or taken up after a time, less a margin; see `Store.find`."""
    try:
        return before is not None and folder.stat().st_mtime_ns >= before - MARGIN_NS
    except FileNotFoundError:
        return False


def remove(folder: Path, before: int | None) -> bool:
    """Remove a result, by way of a name that nobody looks for; return False where it was taken up at that moment."""
    aside = folder.with_name(f"{PARTIAL}{folder.name}-{uuid4().hex[:8]}")
    with writing(folder):
        try:
            folder.rename(aside)
        except FileNotFoundError:
            return True
        if _is_in_use(aside, before) and not folder.exists():
            aside.rename(folder)
            return False
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside)
        else:
            aside.unlink()
    return True
