"""scBERT's published weights: what a folder must hold, and which of their tensors is which of ours.

A folder has the weights (``panglao_pretrain.pth``) and the list of their genes, in their order: the names of the
published `panglao_10000.h5ad`, or a text file or JSON list of them. https://github.com/TencentAILabHealthcare/scBERT.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import torch
from torch import Tensor

from corpuscle.core.components import in_words
from corpuscle.core.errors import ModelError
from corpuscle.core.text import shortened
from corpuscle.model.architectures.scbert.sizes import Size
from corpuscle.model.families.official import Official
from corpuscle.model.foreign.accounting import Renames
from corpuscle.model.foreign.tensors import ENDINGS, read_tensors, refuse_unfetched

# What folders of other models have next to their weights.
OTHERS = ("config.json", "args.json")
LISTS = (".txt", ".csv", ".tsv", ".json", ".h5ad")
# In bytes: what is longer is something else, and not read.
LONGEST_LIST = 10_000_000
CALLS = "performer.calls_since_last_redraw"

_LAYER = r"performer\.net\.layers\.(\d{1,9})\."
_ENDS = r"(weight|bias)"
RENAMES = Renames(
    names={
        r"token_emb\.weight": "level.weight",
        r"pos_emb\.emb\.weight": "positions",
        r"performer\.calls_since_last_redraw": "since_redraw",
        rf"{_LAYER}0\.norm\.{_ENDS}": r"layers.\1.norm_attention.\2",
        rf"{_LAYER}0\.fn\.to_q\.weight": r"layers.\1.query.weight",
        rf"{_LAYER}0\.fn\.to_k\.weight": r"layers.\1.key.weight",
        rf"{_LAYER}0\.fn\.to_v\.weight": r"layers.\1.value.weight",
        rf"{_LAYER}0\.fn\.to_out\.{_ENDS}": r"layers.\1.out.\2",
        rf"{_LAYER}0\.fn\.fast_attention\.projection_matrix": r"layers.\1.projection",
        rf"{_LAYER}1\.norm\.{_ENDS}": r"layers.\1.norm.\2",
        rf"{_LAYER}1\.fn\.fn\.w1\.{_ENDS}": r"layers.\1.up.\2",
        rf"{_LAYER}1\.fn\.fn\.w2\.{_ENDS}": r"layers.\1.down.\2",
        rf"norm\.{_ENDS}": r"norm.\1",
        rf"to_out\.{_ENDS}": r"head.\1",
    },
    left_out={rf"to_out\.(conv1|fc\d)\.{_ENDS}": "of a classifier that the model was fine-tuned to"},
    drawn={
        r"head\.(weight|bias)": (
            "random: the file is of a classifier and has no head that predicts levels; embeddings do not use it"
        )
    },
)


def official(path: Path) -> Official | None:
    """Return what a folder, or a file of weights, is, if it is scBERT's, by its tensors; see `Official`."""
    folder = path if path.is_dir() else path.parent
    if not folder.is_dir() or any((folder / name).is_file() for name in OTHERS):
        return None
    found = [path] if path.is_file() else sorted(each for each in folder.iterdir() if each.suffix in ENDINGS)
    if len(found) != 1 or found[0].suffix not in ENDINGS:
        return None
    tensors = read_tensors(found[0])
    if not any(name.endswith("fast_attention.projection_matrix") for name in tensors):
        return None
    size, n_listed = _size(found[0], tensors)
    files, lacking = {"weights": found[0]}, {}
    lists = {each: names for each in sorted(folder.iterdir()) if (names := _listed(each)) and len(names) == n_listed}
    if len({tuple(names) for names in lists.values()}) > 1:
        raise ModelError(f"{folder}: {' and '.join(each.name for each in lists)} list other genes; leave one of them")
    if lists:
        files["genes"] = next(iter(lists))
    else:
        others = [f"{each.name} {_instead(each)}" for each in sorted(folder.iterdir()) if each.suffix in LISTS]
        lacking["genes"] = (
            f"the list of its {n_listed:,} genes, in its order, next to the weights: panglao_10000.h5ad, or a text "
            f"file or JSON list of their symbols{shortened(''.join(f'; {other}' for other in others))}"
        )
    config = {"size": asdict(size), "n_listed": n_listed, "given_positions": True}
    title = f"scBERT, {size.layers} layers of width {size.width}, {n_listed:,} genes"
    return Official(title, files, lacking, config)


def contents(found: Official) -> tuple[Mapping[str, Any], Mapping[str, Tensor]]:
    """Return a folder's config and tensors; the count of batches since features were drawn is 0 where it has none."""
    return found.config, {CALLS: torch.zeros((), dtype=torch.int64)} | read_tensors(found.files["weights"])


def genes_of(path: Path) -> list[str]:
    """Return the genes that a file lists, in its order.

    Raises
    ------
    ModelError
        When it lists none, or one twice.
    """
    names = _listed(path)
    if not names:
        raise ModelError(f"{path}: lists no genes")
    if len(set(names)) < len(names):
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise ModelError(f"{path}: lists {twice} twice")
    return names


def _listed(path: Path) -> list[str] | None:
    """Return the genes that a file lists; None where it is no list."""
    if path.suffix not in LISTS or not path.is_file():
        return None
    try:
        if path.suffix != ".h5ad" and path.stat().st_size > LONGEST_LIST:
            return None
        if path.suffix == ".h5ad":
            return _names_in(path)
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix != ".json":
            return [line.strip() for line in text.splitlines() if line.strip()]
        found = json.loads(text)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return found if isinstance(found, list) and all(isinstance(name, str) for name in found) else None


def _instead(path: Path) -> str:
    """Return what a file is that is not the list of genes."""
    try:
        refuse_unfetched(path)
    except ModelError as error:
        return str(error).removeprefix(f"{path}: ")
    names = _listed(path)
    return "is no list of genes" if names is None else f"lists {len(names):,}"


def _names_in(path: Path) -> list[str]:
    """Return the names of the genes of an .h5ad file, of which nothing else is read."""
    with h5py.File(path) as file:
        var = file["var"]
        # Older files have one array of records.
        names = var[var.attrs["_index"]][:] if isinstance(var, h5py.Group) else var[:]["index"]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names.tolist()]


def _size(path: Path, tensors: Mapping[str, Tensor]) -> tuple[Size, int]:
    """Return a network's size and how many genes it lists, by its weights."""
    first = "performer.net.layers.0.0.fn."
    needed = {"token_emb.weight": 2, "pos_emb.emb.weight": 2, f"{first}to_q.weight": 2,
              f"{first}fast_attention.projection_matrix": 2}  # fmt: skip
    for name, n_axes in needed.items():
        if name not in tensors or tensors[name].dim() != n_axes or not tensors[name].numel():
            what = "is missing" if name not in tensors else f"should have {n_axes} axes, it is {[*tensors[name].shape]}"
            raise ModelError(f"{path}: these are not the weights of this model: {name} {what}")
    levels, positions, query, projection = (tensors[name] for name in needed)
    numbers = {int(found[1]) for name in tensors if (found := re.match(rf"{_LAYER}", name))}
    try:
        size = Size(
            width=levels.shape[1],
            layers=max(numbers) + 1,
            heads=len(query) // projection.shape[1],
            head=projection.shape[1],
            features=len(projection),
        )
    except ValueError as error:
        raise ModelError(f"{path}: no network has this size: {shortened(in_words(error))}") from error
    return size, len(positions) - 1
