"""What a folder with published weights is, for those who have one: what would be loaded, and what is missing."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from corpuscle.core.errors import ModelError
from corpuscle.model.families.foundation import FoundationModel
from corpuscle.model.families.official import Official, hashes, readers, whose
from corpuscle.model.foreign.accounting import Accounting


class Inspection(NamedTuple):
    """What a folder with published weights is.

    Attributes
    ----------
    model
        The model that opens it.
    found
        What it is.
    hashes
        SHA-256 of its files, by file name.
    problem
        Why it cannot be used; empty where it can.
    accounting
        What becomes of its tensors; None where they cannot be loaded.
    n_parameters
        The network's weights.
    """

    model: str
    found: Official
    hashes: Mapping[str, str]
    problem: str
    accounting: Accounting | None
    n_parameters: int


def inspected(path: Path) -> Inspection:
    """Look at a folder with published weights, and try to load them.

    Raises
    ------
    ModelError
        When it is not there, or no model knows it.
    """
    if not path.exists():
        raise ModelError(f"there is no folder {path}")
    known = whose(path)
    if known is None:
        names = ", ".join(reader().name for reader in readers())
        raise ModelError(f"{path}: holds no published weights that are known here; known are those of {names}")
    model, found = known
    assert issubclass(model, FoundationModel), "only these open checkpoints"
    settings, hashed = model(checkpoint=str(path)), hashes(found)
    lacking = "; ".join(f"it lacks {what}" for what in found.lacking.values())
    if "weights" in found.lacking:
        return Inspection(settings.name, found, hashed, lacking, None, 0)
    try:
        network, accounting = settings.loaded(found)
    except ModelError as error:
        return Inspection(settings.name, found, hashed, str(error), None, 0)
    n_parameters = sum(weight.numel() for weight in network.parameters())
    return Inspection(settings.name, found, hashed, lacking, accounting, n_parameters)
