"""TranscriptFormer's published weights: what its folders hold, and which of their tensors is which of ours.

A folder has `config.json`, `model_weights.pt`, `vocabs/assay_vocab.json` and a file of genes and their vectors per
species (`vocabs/homo_sapiens_gene.h5`): https://github.com/czi-ai/transcriptformer. Axes in names: V tokens, E numbers
of a gene's vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from corpuscle.core.errors import ModelError
from corpuscle.core.text import shortened
from corpuscle.model.architectures.transcriptformer.network import CAP
from corpuscle.model.architectures.transcriptformer.sizes import SIZES, Size
from corpuscle.model.foreign.accounting import Renames
from corpuscle.model.foreign.dictionaries import read_json, token_ids
from corpuscle.model.foreign.tensors import read_tensors

CONFIG, WEIGHTS, VOCABULARIES, ASSAYS = "config.json", "model_weights.pt", "vocabs", "vocabs/assay_vocab.json"
# The order where a folder's config does not say it.
SPECIAL = ("unknown", "[START]", "[END]", "[RD]", "[CELL]", "[PAD]", "[MASK]")
START, END, UNKNOWN_ASSAY = "[START]", "[END]", "unknown"

LARGE = SIZES["sapiens"]
HEADS = {r"gene_embeddings\.mlp": "into", r"mu\.mlp": "count_head", "gene_id_head": "gene_head"}
_LAYER = r"transformer_encoder\.encoder_layers\.(\d+)\."
RENAMES = Renames({
    r"gene_embeddings\.embedding\.weight": "vectors",
    r"aux_embeddings\.assay\.weight": "assay.weight",
    r"mu\.gene_embedding\.weight": "gene_level.weight",
    **{
        rf"{theirs}\.layers\.{at}\.(weight|bias)": rf"{ours}.{part}.\1"
        for theirs, ours in HEADS.items()
        for at, part in ((0, "up"), (2, "norm"), (4, "down"))
    },
    **{
        rf"{_LAYER}self_attn\.linears\.{at}\.weight": rf"layers.\1.{part}.weight"
        for at, part in enumerate(("query", "key", "value", "out"))
    },
    _LAYER + r"linear1\.weight": r"layers.\1.up.weight",
    _LAYER + r"linear2\.weight": r"layers.\1.down.weight",
    _LAYER + r"norm1\.(weight|bias)": r"layers.\1.norm_attention.\2",
    _LAYER + r"norm2\.(weight|bias)": r"layers.\1.norm.\2",
})  # fmt: skip


def recognised(folder: Path) -> str | None:
    """Return what a folder of TranscriptFormer's weights is, for people; None: it is none, by its config."""
    if not (folder / CONFIG).is_file():
        return None
    model = read_json(folder / CONFIG).get("model")
    config = model.get("model_config") if isinstance(model, Mapping) else None
    if not isinstance(config, Mapping) or "embed_dim" not in config:
        return None
    return f"TranscriptFormer, {config.get('num_layers')} layers of width {config.get('embed_dim')}"


class Folder(NamedTuple):
    """What a folder of published weights holds.

    Attributes
    ----------
    tensors
        The weights.
    size
        Their network's size.
    names
        Special tokens and genes, in the order of the weights' rows, length V.
    n_special
        How many of them are special.
    assays
        The number of each assay that is known.
    files
        Names of the files that were read, in the folder.
    """

    tensors: dict[str, Tensor]
    size: Size
    names: tuple[str, ...]
    n_special: int
    assays: dict[str, int]
    files: tuple[str, ...]


def opened_folder(folder: Path) -> Folder:
    """Read a folder of published weights.

    Raises
    ------
    ModelError
        When it is no such folder, a file is missing, or one does not fit to the others.
    """
    if recognised(folder) is None:
        raise ModelError(_no_folder(folder))
    found = read_json(folder / CONFIG)["model"]
    config, data = _table(found, "model_config", folder), _table(found, "data_config", folder)
    _refuse_other_kinds(config, folder)
    tensors = read_tensors(_there(folder, WEIGHTS))
    size = _size(folder, tensors)
    special = tuple(data.get("special_tokens") or SPECIAL)
    genes = [f"{VOCABULARIES}/{Path(str(name)).name}" for name in data.get("esm2_mappings") or ()]
    if not genes:
        genes = sorted(path.relative_to(folder).as_posix() for path in (folder / VOCABULARIES).glob("*_gene.h5"))
    if not genes:
        raise ModelError(f"{folder / VOCABULARIES}: should have a file of genes, such as homo_sapiens_gene.h5")
    names = _joined([*special, *(name for each in genes for name in gene_names(_there(folder, each)))])
    n_rows = len(tensors["gene_embeddings.embedding.weight"])
    if len(names) != n_rows:
        raise ModelError(
            f"{folder}: {', '.join(genes)} and {len(special)} special tokens make {len(names):,} tokens, the weights "
            f"have rows for {n_rows:,}; these are the genes of another model or species"
        )
    missing = {START, END} - set(special)
    if missing:
        raise ModelError(f"{folder / CONFIG}: special_tokens should have {' and '.join(sorted(missing))}")
    assays = token_ids(_there(folder, ASSAYS), len(tensors["aux_embeddings.assay.weight"]))
    if assays.get(UNKNOWN_ASSAY) != 0:
        raise ModelError(f'{folder / ASSAYS}: "{UNKNOWN_ASSAY}" should be 0; it is {assays.get(UNKNOWN_ASSAY)}')
    return Folder(tensors, size, names, len(special), assays, (CONFIG, WEIGHTS, ASSAYS, *genes))


def gene_names(path: Path) -> list[str]:
    """Return the genes of a file of vectors, in its order.

    Raises
    ------
    ModelError
        When it cannot be read, or names no gene.
    """
    try:
        with h5py.File(path) as file:
            found = [name.decode() if isinstance(name, bytes) else str(name) for name in file["keys"][:].tolist()]
    except (OSError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise ModelError(
            f"{path}: should be an HDF5 file with the genes in `keys` and their vectors under `arrays` "
            f"({shortened(str(error))})"
        ) from error
    if not found:
        raise ModelError(f"{path}: names no gene")
    return found


def gene_vectors(path: Path) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Return the genes of a file of vectors and these, shape (genes, E); of a gene that is there twice, the first.

    Raises
    ------
    ModelError
        When it cannot be read, or vectors are missing, of different lengths or not finite.
    """
    names = _joined(gene_names(path))
    try:
        with h5py.File(path) as file:
            arrays = file["arrays"]
            found = [np.asarray(arrays[name], np.float32).ravel() for name in names]
    except (OSError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise ModelError(f"{path}: `arrays` should have a vector for each gene ({shortened(str(error))})") from error
    if len({len(vector) for vector in found}) > 1:
        raise ModelError(f"{path}: vectors of genes should all be as long")
    vectors = np.stack(found)
    if not np.isfinite(vectors).all():
        raise ModelError(f"{path}: a vector of a gene has values that are not finite")
    return names, vectors


def _joined(names: Sequence[str]) -> tuple[str, ...]:
    """Return names, each once, where it is first."""
    return tuple(dict.fromkeys(names))


def _table(found: Mapping[str, Any], name: str, folder: Path) -> Mapping[str, Any]:
    table = found.get(name)
    if not isinstance(table, Mapping):
        raise ModelError(f"{folder / CONFIG}: should have a table model.{name}")
    return table


def _there(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise ModelError(f"{folder}: {name} is missing; fetch the whole folder again")
    return path


def _refuse_other_kinds(config: Mapping[str, Any], folder: Path) -> None:
    known = {"mu_link_fn": "softmax", "softcap": CAP, "activation": "gelu", "attn_bias": False, "fw_bias": False}
    others = [f"{name} = {config[name]!r}" for name, value in known.items() if config.get(name, value) != value]
    if others:
        raise ModelError(
            f"{folder / CONFIG}: {', '.join(others)}: published TranscriptFormers have "
            f"{', '.join(f'{name} = {value!r}' for name, value in known.items())}, and only these can be opened"
        )


def size_by_config(folder: Path) -> Size:
    """Return a network's size as its folder's config has it, without its weights; as published where it does not.

    Raises
    ------
    ModelError
        When it is no such folder, or no network has the size.
    """
    if recognised(folder) is None:
        raise ModelError(_no_folder(folder))
    config = _table(read_json(folder / CONFIG)["model"], "model_config", folder)
    ours = {"embed_dim": "width", "model_dim": "hidden", "num_layers": "layers", "num_heads": "heads",
            "seq_len": "genes", "gene_head_hidden_dim": "gene_hidden"}  # fmt: skip
    given = {name: config.get(name, LARGE.__dict__[field]) for name, field in ours.items()}
    wrong = [name for name, number in given.items() if type(number) is not int or number < 1]
    if wrong:
        raise ModelError(f"{folder / CONFIG}: model_config.{wrong[0]} should be a number from 1; {given[wrong[0]]!r}")
    try:
        return Size(**{field: given[name] for name, field in ours.items()}, vector=LARGE.vector)
    except ValueError as error:
        raise ModelError(f"{folder / CONFIG}: no network has this size ({shortened(str(error))})") from error


def _no_folder(folder: Path) -> str:
    return (
        f"{folder}: is no folder of TranscriptFormer's: it should have {CONFIG} with model.model_config, {WEIGHTS} and "
        f"{VOCABULARIES}/, as its download has them"
    )


def _size(folder: Path, tensors: Mapping[str, Tensor]) -> Size:
    """Return a network's size: that of its config, but for what its weights say themselves."""
    needed = ("gene_embeddings.embedding.weight", "aux_embeddings.assay.weight", "gene_id_head.layers.0.weight")
    for name in needed:
        if name not in tensors or tensors[name].dim() != 2:
            raise ModelError(f"{folder / WEIGHTS}: these are not the weights of this model: {name} is missing")
    vectors, gene_head = tensors[needed[0]], tensors[needed[2]]
    return replace(size_by_config(folder), vector=vectors.shape[1], gene_hidden=len(gene_head))
