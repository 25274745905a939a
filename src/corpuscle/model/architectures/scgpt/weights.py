"""Published weights of scGPT: what a folder of them must hold, and which of its tensors is which of ours.

A folder is as https://github.com/bowang-lab/scGPT links them: ``args.json``, ``vocab.json``, ``best_model.pt``.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from corpuscle.core.components import in_words
from corpuscle.core.errors import ModelError
from corpuscle.core.text import shortened
from corpuscle.model.architectures.scgpt.sizes import CLS_VALUE, MASKED, MAX_LENGTH, N_BINS, N_TOKENS, Size
from corpuscle.model.families.official import Official
from corpuscle.model.foreign.accounting import Renames
from corpuscle.model.foreign.dictionaries import read_json, token_ids, whole_number
from corpuscle.model.foreign.tensors import ENDINGS
from corpuscle.model.tokenisers.gene_tokens import Vocabulary

ARGS, VOCABULARY = "args.json", "vocab.json"
# What the weights are called: as published, or saved again in another form.
WEIGHTS = ("best_model", "model")
# Our names of widths, and the published ones.
WIDTHS = {"width": "embsize", "layers": "nlayers", "heads": "nheads", "feed_forward": "d_hid"}
CLS, SPECIAL = "<cls>", ("<pad>", "<cls>", "<eoc>")

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
    rows={r"body\.genes\.weight": f"tokens of {VOCABULARY}"},
    drawn={r"(decoder|cell_decoder)\..*": "drawn at random; a cell's embedding does not depend on it"},
)


def official(folder: Path) -> Official | None:
    """Return what a folder is, if it is one of scGPT's; see `Official`.

    Raises
    ------
    ModelError
        When it is, and its settings cannot be used.
    """
    args = read_json(folder / ARGS) if (folder / ARGS).is_file() else {}
    if not set(WIDTHS.values()) & args.keys():
        return None
    _refuse_others(folder / ARGS, args)
    size = _size(folder / ARGS, args)
    weights = [path for name in WEIGHTS for ending in ENDINGS if (path := folder / f"{name}{ending}").is_file()]
    files = {"args": folder / ARGS} | ({"weights": weights[0]} if weights else {})
    config: dict[str, Any] = {
        "size": asdict(size),
        "n_tokens": N_TOKENS,
        "n_bins": whole_number(folder / ARGS, args, "n_bins", N_BINS, least=2),
        "max_length": whole_number(folder / ARGS, args, "max_seq_len", MAX_LENGTH, least=2),
    }
    lacking = {} if weights else {"weights": "best_model.pt"}
    if (folder / VOCABULARY).is_file():
        files["vocabulary"] = folder / VOCABULARY
        config["n_tokens"] = len(read_json(folder / VOCABULARY))
    else:
        lacking["vocabulary"] = VOCABULARY
    in_words = f"{size.layers} layers of width {size.width}, {config['n_tokens']:,} tokens, {config['n_bins']} bins"
    return Official(f"scGPT, {in_words}", files, lacking, config)


def read_vocabulary(path: Path, n_tokens: int) -> tuple[Vocabulary, int]:
    """Return which token each gene has, and the cell's own token.

    Raises
    ------
    ModelError
        When there is none for the cell, or tokens are not numbered through.
    """
    tokens = token_ids(path, n_tokens)
    if CLS not in tokens:
        raise ModelError(f"{path}: has no token {CLS}, so it is no vocabulary of scGPT")
    # Special tokens are no genes, whatever a gene may be called.
    genes = {name: token for name, token in tokens.items() if name not in SPECIAL}
    return Vocabulary(genes, "symbol", {}, str(path)), tokens[CLS]


def _size(path: Path, args: dict[str, Any]) -> Size:
    try:
        widths = {ours: whole_number(path, args, theirs) for ours, theirs in WIDTHS.items()}
        return Size(**widths, dropout=args.get("dropout", 0.2))
    except ValidationError as error:
        raise ModelError(f"{path}: gives no size of a network: {shortened(in_words(error))}") from error


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
