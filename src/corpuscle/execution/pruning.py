"""Pruning: take fitted models out of a store, and what was kept to ask them; scores, curves and report stay."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from corpuscle.core.errors import FolderError
from corpuscle.execution.run_record import store_of
from corpuscle.execution.upkeep import OF_A_MODEL, Contents, claims_in, remove
from corpuscle.store import RUNS, Store

# Of what is kept of a model, maps are part of what the report shows.
TO_ASK_IT = OF_A_MODEL - {"maps"}


class Pruned(NamedTuple):
    """What `prune` removed, or would remove.

    Attributes
    ----------
    n_models
        How many models.
    n_bytes
        How much of the disk they took, with their embeddings and what they were taught.
    shared
        How many models stay because another run uses them.
    """

    n_models: int
    n_bytes: int
    shared: int


def prune(folder: Path, keys: Collection[str], *, dry_run: bool = False) -> Pruned:
    """Remove models of a run; the study makes them again when it is run again.

    Parameters
    ----------
    folder
        The run's folder.
    keys
        The keys of its models in the store.
    dry_run
        Only return what would be removed.

    Raises
    ------
    FolderError
        When the run is at work.
    """
    store = Store(store_of(folder, None))
    contents, claims = Contents(store), claims_in(store.root, dry_run=True)
    here = folder.resolve()
    for run in contents.runs:
        if run.folder.resolve() == here and run.claim in claims:
            raise FolderError(f"{folder}: the run is at work ({claims[run.claim].owner}); prune it when it has ended")
    before = min((one.owner.begun for path, one in claims.items() if path.parent.name == RUNS), default=None)
    n_models = n_bytes = shared = 0
    for address, one in contents.kept.items():
        models = {address} if address[0] == "models" else {use for use in one.uses if use[0] == "models"}
        if address[0] not in {"models", *TO_ASK_IT} or not {key for _, key in models} & {*keys}:
            continue
        is_model = address[0] == "models"
        if any(run.folder.resolve() != here and not run.is_gone for run in contents.users[address]):
            shared += is_model
            continue
        size = one.n_bytes
        if dry_run or remove(one.folder, before):
            n_models, n_bytes = n_models + is_model, n_bytes + size
        else:
            shared += is_model
    return Pruned(n_models, n_bytes, shared)
