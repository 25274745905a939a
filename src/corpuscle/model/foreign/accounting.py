"""From published names of weights to our own: every tensor is loaded, left out for a reason, or refused."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from corpuscle.core.errors import ModelError
from corpuscle.core.text import shortened


@dataclass(frozen=True)
class Renames:
    r"""Which tensor of a published file is which of a network's.

    Attributes
    ----------
    names
        Regular expressions of published names, whole, and our names for them, with groups as in `re.sub`. One that
        ends in ``[0/3]`` is the first of three equal parts, one below the other, that make up a tensor of ours. Several
        published names may stand for one of ours, as far as a file has only one of them.
    left_out
        Regular expressions of published names that have no use here, and why.
    drawn
        Regular expressions of our own names that a file need not have, and what is in their place.
    rows
        Regular expressions of our own names whose number of rows another file says, and what it has as many of.

    Examples
    --------
    >>> Renames({r"layer\.(\d+)\.(query|key)\.weight": r"blocks.\1.\2.weight"}).our_name("layer.3.key.weight")
    'blocks.3.key.weight'
    """

    names: Mapping[str, str]
    left_out: Mapping[str, str] = field(default_factory=dict)
    drawn: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, str] = field(default_factory=dict)

    def our_name(self, name: str) -> str | None:
        """Return our name for a published one; None where there is none."""
        for pattern, ours in self.names.items():
            if match := re.fullmatch(pattern, name):
                return match.expand(ours)
        return None


class Accounting(NamedTuple):
    """What became of the tensors of a file.

    Attributes
    ----------
    loaded
        How many were loaded.
    left_out
        Published names that were left out, and why.
    drawn
        Our names that the file does not have, and what is in their place.
    """

    loaded: int
    left_out: Mapping[str, str]
    drawn: Mapping[str, str]

    def __str__(self) -> str:
        """Say it in a few lines, for people."""
        lines = [f"{self.loaded:,} tensors are loaded"]
        for what, found in (("left out", self.left_out), ("not in the file", self.drawn)):
            for why in dict.fromkeys(found.values()):
                names = [name for name, reason in found.items() if reason == why]
                lines.append(f"{len(names):,} {what}: {why} ({shortened(', '.join(names))})")
        return "\n".join(lines)


FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_PART = re.compile(r"(.*)\[(\d+)/(\d+)\]")


def load_renamed(network: nn.Module, tensors: Mapping[str, Tensor], renames: Renames, place: str) -> Accounting:
    """Give a network the weights of a published file, each checked; it may be on the device ``meta`` before.

    Parameters
    ----------
    network
        What is given them.
    tensors
        The file's tensors by name.
    renames
        Which is which.
    place
        The file, for errors.

    Raises
    ------
    ModelError
        With every tensor that is unknown, missing, there twice, of another shape or not of finite floats: none is ever
        left random unless `Renames.drawn` says so.
    """
    faults: list[str] = []
    own = network.state_dict()
    found, left_out = _sorted(tensors, renames, own, faults)
    drawn = {ours: _first(renames.drawn, ours) for ours in own if ours not in found}
    faults += [f"{ours} is missing" for ours, why in drawn.items() if not why]
    _refuse(faults, place)
    joined = {ours: torch.cat([parts[at] for at in sorted(parts)]) if len(parts) > 1 else parts[0, 1]
              for ours, parts in found.items()}  # fmt: skip
    given = {ours: tensor.to(own[ours].dtype) for ours, tensor in joined.items()}
    _refuse([f"{ours} has values that are not finite" for ours, each in given.items() if not _is_finite(each)], place)
    network.load_state_dict(given, strict=False, assign=True)
    network.eval()
    return Accounting(len(tensors) - len(left_out), left_out, drawn)


# By our names, the tensors of a file; each by which part it is of how many, counted from 0.
_Found = dict[str, dict[tuple[int, int], Tensor]]


def _sorted(
    tensors: Mapping[str, Tensor], renames: Renames, own: Mapping[str, Tensor], faults: list[str]
) -> tuple[_Found, dict[str, str]]:
    """Sort the tensors of a file by our names, and those that are left out with why; note what is wrong with them."""
    left_out: dict[str, str] = {}
    found: _Found = {}
    for name, tensor in tensors.items():
        ours = renames.our_name(name)
        if ours is None:
            why = _first(renames.left_out, name)
            faults += [] if why else [f"{name} is no tensor of this model"]
            left_out[name] = why
            continue
        part = _PART.fullmatch(ours)
        ours, at, n_parts = (part[1], int(part[2]), int(part[3])) if part else (ours, 0, 1)
        known = found.setdefault(ours, {}).setdefault((at, n_parts), tensor)
        # Before anything is done with it: a file of a few bytes may say that it holds any number of numbers.
        if ours not in own:
            faults += [f"{ours} is no tensor of a network of this size"] if known is tensor else []
        elif fault := _unfit(ours, tensor, own[ours], n_parts, _first(renames.rows, ours)):
            faults.append(fault)
        elif known is not tensor and not (known.shape == tensor.shape and torch.equal(known, tensor)):
            faults.append(f"{name} differs from another tensor that should be the same")
    for ours, parts in found.items():
        n_parts = max(n for _, n in parts)
        if len({n for _, n in parts}) > 1:
            faults.append(f"{ours} is there both whole and in parts")
        elif len(parts) < n_parts:
            faults.append(f"{ours} has {len(parts)} of its {n_parts} parts")
    return found, left_out


def _unfit(ours: str, tensor: Tensor, own: Tensor, n_parts: int, rows: str) -> str:
    """Return why a tensor cannot be one of a network's, or one of so many equal parts of it; empty where it can."""
    if tensor.layout != torch.strided or tensor.is_meta or (own.is_floating_point() and tensor.dtype not in FLOATS):
        kind = str(tensor.dtype if tensor.layout == torch.strided else tensor.layout).removeprefix("torch.")
        return f"{ours} should have floats of 16, 32 or 64 bits; it is {kind}"
    expected = torch.Size([own.shape[0] // n_parts, *own.shape[1:]]) if n_parts > 1 else own.shape
    return "" if tensor.shape == expected else _misshapen(ours, expected, tensor.shape, rows)


def _is_finite(tensor: Tensor) -> bool:
    # One number that is not finite makes the sum so; a sum of 64 bits does not overflow by itself.
    return not tensor.is_floating_point() or bool(tensor.sum(dtype=torch.float64).isfinite())


def _misshapen(ours: str, expected: torch.Size, found: torch.Size, rows: str) -> str:
    """Say that a tensor is of another shape; where only its rows differ, and another file says how many, so."""
    if rows and len(found) and expected[1:] == found[1:]:
        return (
            f"{ours} has {found[0]:,} rows, and there are {expected[0]:,} {rows}: that is of another model or version"
        )
    return f"{ours} should have shape {[*expected]}, it has {[*found]}"


def _first(reasons: Mapping[str, str], name: str) -> str:
    """Return what the first pattern that fits a name says; empty where none does."""
    return next((why for pattern, why in reasons.items() if re.fullmatch(pattern, name)), "")


def _refuse(faults: list[str], place: str) -> None:
    if faults:
        raise ModelError(f"{place}: these are not the weights of this model: {_listed(faults)}")


def _listed(faults: list[str], shown: int = 8) -> str:
    more = f"; and {len(faults) - shown:,} more" if len(faults) > shown else ""
    return "; ".join(faults[:shown]) + more
