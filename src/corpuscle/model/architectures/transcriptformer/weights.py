"""TranscriptFormer's published weights: what its folders hold, and which of their tensors is which of ours.

A folder has `config.json`, `model_weights.pt`, `vocabs/assay_vocab.json` and a file of genes and their vectors per
species (`vocabs/homo_sapiens_gene.h5`): https://github.com/czi-ai/transcriptformer. Axes in names: V tokens, E numbers
of a gene's vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from corpuscle.core.components import in_words
from corpuscle.core.errors import ModelError
from corpuscle.core.text import shortened
from corpuscle.model.architectures.transcriptformer.network import CAP
from corpuscle.model.architectures.transcriptformer.sizes import SIZES, Size
from corpuscle.model.families.official import Official
from corpuscle.model.foreign.accounting import Renames
from corpuscle.model.foreign.dictionaries import read_json, token_ids
from corpuscle.model.foreign.tensors import read_tensors, refuse_unfetched

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


def official(folder: Path) -> Official | None:
    """Return what a folder is, if it is one of TranscriptFormer's, by its config; see `Official`."""
    if not (folder / CONFIG).is_file():
        return None
    model = read_json(folder / CONFIG).get("model")
    if not isinstance(model, Mapping):
        return None
    config = model.get("model_config")
    if not isinstance(config, Mapping) or "embed_dim" not in config:
        return None
    _refuse_other_kinds(config, folder)
    data = model.get("data_config")
    data = data if isinstance(data, Mapping) else {}
    for name in ("esm2_mappings", "special_tokens"):
        given = data.get(name) or ()
        if not isinstance(given, list | tuple) or not all(isinstance(each, str) for each in given):
            raise ModelError(f"{folder / CONFIG}: data_config.{name} should be a list; it is {shortened(repr(given))}")
    genes = _gene_files(folder, data)
    files = {"config": folder / CONFIG, "weights": folder / WEIGHTS, "assays": folder / ASSAYS}
    files |= {f"genes {at}": path for at, path in enumerate(genes)}
    lacking = {role: str(path.relative_to(folder)) for role, path in files.items() if not path.is_file()}
    if not genes:
        lacking["genes 0"] = f"a file of genes and their vectors, such as {VOCABULARIES}/homo_sapiens_gene.h5"
    files = {role: path for role, path in files.items() if role not in lacking}
    special = [str(name) for name in data.get("special_tokens") or SPECIAL]
    if missing := {START, END} - set(special):
        raise ModelError(f"{folder / CONFIG}: special_tokens should have {' and '.join(sorted(missing))}")
    size = _size(config, folder, files.get("genes 0"))
    title = f"TranscriptFormer, {size.layers} layers of width {size.width}"
    made_of = {"size": asdict(size), "special": special, "given_vectors": True}
    if lacking:
        # What the missing files would say, as far as the weights say it, too.
        return Official(title, files, lacking, made_of | _sizes_by_weights(files, made_of))
    names = names_of(special, files)
    organisms = ", ".join(path.stem.removesuffix("_gene") for path in genes)
    title = f"{title}, {len(names) - len(special):,} genes of {organisms}"
    counted = {"n_names": len(names), "n_assays": len(read_json(files["assays"]))}
    return Official(title, files, lacking, made_of | counted)


def _sizes_by_weights(files: Mapping[str, Path], made_of: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a network is made of, of what else files of genes and assays say."""
    tensors = read_tensors(files["weights"]) if "weights" in files else {}
    vectors, assays = (tensors.get(f"{name}.weight") for name in ("gene_embeddings.embedding", "aux_embeddings.assay"))
    if vectors is None or assays is None or vectors.dim() != 2:
        return {"n_names": len(made_of["special"]), "n_assays": 1}
    size = {**made_of["size"], "vector": vectors.shape[1]}
    return {"size": size, "n_names": len(vectors), "n_assays": len(assays)}


def names_of(special: Sequence[str], files: Mapping[str, Path]) -> tuple[str, ...]:
    """Return special tokens and genes in the order of the weights' rows; see `Official.files`."""
    genes = (path for role, path in files.items() if role.startswith("genes "))
    return _joined([*special, *(name for path in genes for name in gene_names(path))])


def assays_of(path: Path) -> list[str]:
    """Return the assays in the order of the weights' rows.

    Raises
    ------
    ModelError
        When the first does not stand for all that are unknown.
    """
    assays = token_ids(path)
    if assays.get(UNKNOWN_ASSAY) != 0 or max(assays.values()) >= len(assays):
        raise ModelError(f'{path}: should number assays from 0, which is "{UNKNOWN_ASSAY}"')
    return sorted(assays, key=assays.__getitem__)


def gene_names(path: Path) -> list[str]:
    """Return the genes of a file of vectors, in its order.

    Raises
    ------
    ModelError
        When it cannot be read, or names no gene.
    """
    refuse_unfetched(path)
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


def _gene_files(folder: Path, data: Mapping[str, Any]) -> list[Path]:
    """Return the files of genes that a folder's config names, in order; those that are there, where it names none."""
    named = [Path(str(name)).name for name in data.get("esm2_mappings") or ()]
    if named:
        return [folder / VOCABULARIES / name for name in named]
    return sorted((folder / VOCABULARIES).glob("*_gene.h5"))


def _refuse_other_kinds(config: Mapping[str, Any], folder: Path) -> None:
    known = {"mu_link_fn": "softmax", "softcap": CAP, "activation": "gelu", "attn_bias": False, "fw_bias": False}
    others = [f"{name} = {config[name]!r}" for name, value in known.items() if config.get(name, value) != value]
    if others:
        raise ModelError(
            f"{folder / CONFIG}: {', '.join(others)}: published TranscriptFormers have "
            f"{', '.join(f'{name} = {value!r}' for name, value in known.items())}, and only these can be opened"
        )


def _size(config: Mapping[str, Any], folder: Path, genes: Path | None) -> Size:
    """Return a network's size by its folder's config; as published where that does not have it."""
    ours = {"embed_dim": "width", "model_dim": "feed_forward", "num_layers": "layers", "num_heads": "heads",
            "seq_len": "genes", "gene_head_hidden_dim": "gene_hidden"}  # fmt: skip
    given = {name: config.get(name, getattr(LARGE, field)) for name, field in ours.items()}
    wrong = [name for name, number in given.items() if type(number) is not int or number < 1]
    if wrong:
        raise ModelError(f"{folder / CONFIG}: model_config.{wrong[0]} should be a number from 1; {given[wrong[0]]!r}")
    n_vector = LARGE.vector if genes is None else _vector_length(genes)
    try:
        return Size(**{field: given[name] for name, field in ours.items()}, vector=n_vector)
    except ValueError as error:
        raise ModelError(f"{folder / CONFIG}: no network has this size: {shortened(in_words(error))}") from error


def _vector_length(path: Path) -> int:
    first = gene_names(path)[0]
    try:
        with h5py.File(path) as file:
            return int(np.size(file["arrays"][first]))
    except (OSError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise ModelError(f"{path}: `arrays` should have a vector for each gene ({shortened(str(error))})") from error
