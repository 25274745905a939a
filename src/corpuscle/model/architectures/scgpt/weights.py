"""Published weights of scGPT: what a folder of them must hold, and which of its tensors is which of ours.

A folder is as https://github.com/bowang-lab/scGPT links them: ``args.json``, ``vocab.json``, ``best_model.pt``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor

from corpuscle.core.errors import ModelError
from corpuscle.model.architectures.scgpt.network import ScgptNetwork, draw_weights
from corpuscle.model.architectures.scgpt.sizes import CLS_VALUE, MASKED, MAX_LENGTH, N_BINS, ScgptSize
from corpuscle.model.foreign.accounting import Accounting, Renames, load_renamed
from corpuscle.model.foreign.dictionaries import read_json, token_ids
from corpuscle.model.foreign.tensors import ENDINGS, read_tensors
from corpuscle.model.tokenisers.gene_tokens import Vocabulary

ARGS, VOCABULARY = "args.json", "vocab.json"
# What the weights are called: as published, or saved again in another form.
WEIGHTS = ("best_model", "model")
CLS, SPECIAL = "<cls>", ("<pad>", "<cls>", "<eoc>")
GENES = "encoder.embedding.weight"

_PAIR = r"(weight|bias)"
_OF_BLOCK = r"transformer_encoder\.layers\.(\d+)"
_BATCH = "of a fine-tuning for integration: batches of its corpus"
RENAMES = Renames(
    names={
        r"encoder\.embedding\.weight": "body.genes.weight",
        rf"encoder\.enc_norm\.{_PAIR}": r"body.gene_norm.\1",
        rf"value_encoder\.linear1\.{_PAIR}": r"body.values.up.\1",
        rf"value_encoder\.linear2\.{_PAIR}": r"body.values.down.\1",
        rf"value_encoder\.norm\.{_PAIR}": r"body.values.norm.\1",
        # Queries, keys and values are one below the other, in flash-attn's form as in torch's.
        rf"{_OF_BLOCK}\.self_attn\.(?:_impl\.)?(?:Wqkv\.|in_proj_){_PAIR}": r"body.blocks.\1.qkv.\2",
        rf"{_OF_BLOCK}\.self_attn\.(?:_impl\.)?out_proj\.{_PAIR}": r"body.blocks.\1.out.\2",
        rf"{_OF_BLOCK}\.linear1\.{_PAIR}": r"body.blocks.\1.up.\2",
        rf"{_OF_BLOCK}\.linear2\.{_PAIR}": r"body.blocks.\1.down.\2",
        rf"{_OF_BLOCK}\.norm1\.{_PAIR}": r"body.blocks.\1.norm_attention.\2",
        rf"{_OF_BLOCK}\.norm2\.{_PAIR}": r"body.blocks.\1.norm.\2",
        rf"decoder\.fc\.(\d+)\.{_PAIR}": r"decoder.\1.\2",
        rf"mvc_decoder\.gene2query\.{_PAIR}": r"cell_decoder.query.\1",
        r"mvc_decoder\.W\.weight": "cell_decoder.weight.weight",
    },
    left_out={
        r"flag_encoder\.weight": "marks genes to be generated, in a pre-training that is not done here",
        r"cls_decoder\..*": "a head for the cell types of another corpus",
        r"(bn|dsbn|batch_encoder|grad_reverse_discriminator)\..*": _BATCH,
        r"(decoder\.zero_logit|mvc_decoder\.W_zero_logit)\..*": _BATCH,
    },
    drawn={r"(decoder|cell_decoder)\..*": "drawn at random; a cell's embedding does not depend on it"},
)


class Folder(NamedTuple):
    """What a folder of published weights says of them.

    Attributes
    ----------
    size
        The widths, all but the number of genes.
    n_bins, max_length
        See `Binning`.
    vocabulary
        Which token each gene has.
    n_special, cls
        How many special tokens there are besides; the cell's own.
    weights
        The file of weights.
    """

    size: ScgptSize
    n_bins: int
    max_length: int
    vocabulary: Vocabulary
    n_special: int
    cls: int
    weights: Path

    @property
    def n_tokens(self) -> int:
        """How many rows the weights should have for tokens."""
        return len(self.vocabulary.tokens) + self.n_special

    def tensors(self) -> dict[str, Tensor]:
        """Read the weights.

        Raises
        ------
        ModelError
            When they cannot be read, or have another number of tokens than the vocabulary.
        """
        found = read_tensors(self.weights)
        if GENES in found:
            token_ids(self.weights.parent / VOCABULARY, len(found[GENES]))
        return found


def recognised(folder: Path) -> str | None:
    """Return what official folder this is, from its settings and not from its name; None: none of scGPT's."""
    if not (folder / ARGS).is_file() or not (folder / VOCABULARY).is_file():
        return None
    args = read_json(folder / ARGS)
    if "embsize" not in args:
        return None
    found = read_folder(folder)
    size = found.size
    return (
        f"scGPT of {size.n_layers} layers, width {size.width}, with {len(found.vocabulary.tokens):,} genes, in "
        f"{found.n_bins} bins"
    )


def read_folder(folder: Path) -> Folder:
    """Read what a folder says of its weights; the weights themselves are not read.

    Raises
    ------
    ModelError
        When the folder is none of scGPT's, or of a kind that cannot be used.
    """
    missing = [name for name in (ARGS, VOCABULARY) if not (folder / name).is_file()]
    files = [folder / f"{name}{ending}" for name in WEIGHTS for ending in ENDINGS]
    weights = [path for path in files if path.is_file()]
    if missing or not weights:
        lacking = ", ".join([*missing, *(["best_model.pt"] if not weights else [])])
        raise ModelError(
            f"{folder}: no scGPT can be read here: {lacking} is missing; give the folder that holds {ARGS}, "
            f"{VOCABULARY} and best_model.pt"
        )
    args = read_json(folder / ARGS)
    _refuse_others(folder / ARGS, args)
    tokens = token_ids(folder / VOCABULARY)
    if CLS not in tokens:
        raise ModelError(f"{folder / VOCABULARY}: has no token {CLS}, so it is no vocabulary of scGPT")
    # Special tokens are no genes, whatever a gene may be called.
    genes = {name: token for name, token in tokens.items() if name not in SPECIAL}
    vocabulary = Vocabulary(genes, "symbol", {}, str(folder / VOCABULARY))
    lengths = (_whole(folder / ARGS, args, "n_bins", N_BINS), _whole(folder / ARGS, args, "max_seq_len", MAX_LENGTH))
    return Folder(_size(folder / ARGS, args), *lengths, vocabulary, len(tokens) - len(genes), tokens[CLS], weights[0])


def load(network: ScgptNetwork, tensors: Mapping[str, Tensor], path: Path, init: torch.Generator) -> Accounting:
    """Give a network without weights those of a file; decoders that it lacks are drawn.

    Raises
    ------
    ModelError
        With every tensor that is unknown, missing or of another shape; see `load_renamed`.
    """
    found = load_renamed(network, tensors, RENAMES, str(path))
    for name, part in network.named_children():
        lacking = [ours for ours in found.drawn if ours.startswith(f"{name}.")]
        if lacking and len(lacking) < len(part.state_dict()):
            raise ModelError(f"{path}: these are not the weights of this model: {', '.join(lacking)} is missing")
        if lacking:
            draw_weights(part.to_empty(device="cpu"), init)
    return found


def _size(path: Path, args: dict[str, Any]) -> ScgptSize:
    names = {"width": "embsize", "n_layers": "nlayers", "n_heads": "nheads", "n_hidden": "d_hid"}
    try:
        return ScgptSize(**{ours: _whole(path, args, theirs) for ours, theirs in names.items()})
    except ValidationError as error:
        raise ModelError(f"{path}: gives no size of a network: {error.errors()[0]['msg']}") from error


def _whole(path: Path, args: dict[str, Any], name: str, default: int | None = None) -> int:
    found = args.get(name, default)
    if type(found) is not int or found < 1:
        raise ModelError(f"{path}: {name} should be a whole number above 0; it is {found!r}")
    return found


def _refuse_others(path: Path, args: dict[str, Any]) -> None:
    """Refuse settings with which the same weights would mean something else."""
    expected = {
        "input_emb_style": "continuous",
        "input_style": "binned",
        "mask_value": MASKED,
        "pad_value": CLS_VALUE,
    }
    for name, value in expected.items():
        if args.get(name, value) != value:
            raise ModelError(f"{path}: {name} is {args[name]!r}; only {value!r} can be used here")
