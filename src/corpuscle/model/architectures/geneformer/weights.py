"""What Geneformer's published folders hold, and which of their tensors is which of the network's.

A folder has ``config.json`` and ``model.safetensors`` or ``pytorch_model.bin``; dictionaries are in ``geneformer/`` of
the published repository (those of the first version in ``gene_dictionaries_30m/`` there), next to the folder or in it.
Which version it is, the number of its tokens says, never the folder's name.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from corpuscle.core.components import in_words
from corpuscle.core.errors import ModelError
from corpuscle.core.text import shortened
from corpuscle.model.architectures.geneformer.sizes import SIZES, Size
from corpuscle.model.families.official import Official
from corpuscle.model.foreign.accounting import Renames
from corpuscle.model.foreign.dictionaries import read_dictionary, read_json, whole_number

WIDTHS = {"width": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads",
          "feed_forward": "intermediate_size"}  # fmt: skip
PLACES_KEY = "max_position_embeddings"
CONFIG, WEIGHTS = "config.json", ("model.safetensors", "pytorch_model.bin")
# Where dictionaries are, seen from the folder with the weights.
PLACES = (".", "geneformer", "geneformer/gene_dictionaries_30m", "gene_dictionaries_30m", "..", "../geneformer",
          "../geneformer/gene_dictionaries_30m", "../gene_dictionaries_30m")  # fmt: skip
TOKENS, MEDIANS, NAMES = "*token*dict*", "*median*", "*mapping*dict*"

_ENDS = r"(weight|bias)"
_LAYER = r"bert\.encoder\.layer\.(\d+)\."
RENAMES = Renames(
    names={
        r"bert\.embeddings\.word_embeddings\.weight": "genes.weight",
        r"bert\.embeddings\.position_embeddings\.weight": "places.weight",
        r"bert\.embeddings\.token_type_embeddings\.weight": "kinds.weight",
        rf"bert\.embeddings\.LayerNorm\.{_ENDS}": r"norm.\1",
        r"bert\.embeddings\.LayerNorm\.gamma": "norm.weight",
        r"bert\.embeddings\.LayerNorm\.beta": "norm.bias",
        rf"{_LAYER}attention\.self\.query\.{_ENDS}": r"layers.\1.qkv.\2[0/3]",
        rf"{_LAYER}attention\.self\.key\.{_ENDS}": r"layers.\1.qkv.\2[1/3]",
        rf"{_LAYER}attention\.self\.value\.{_ENDS}": r"layers.\1.qkv.\2[2/3]",
        rf"{_LAYER}attention\.output\.dense\.{_ENDS}": r"layers.\1.out.\2",
        rf"{_LAYER}attention\.output\.LayerNorm\.{_ENDS}": r"layers.\1.norm_attention.\2",
        rf"{_LAYER}attention\.output\.LayerNorm\.gamma": r"layers.\1.norm_attention.weight",
        rf"{_LAYER}attention\.output\.LayerNorm\.beta": r"layers.\1.norm_attention.bias",
        rf"{_LAYER}intermediate\.dense\.{_ENDS}": r"layers.\1.up.\2",
        rf"{_LAYER}output\.dense\.{_ENDS}": r"layers.\1.down.\2",
        rf"{_LAYER}output\.LayerNorm\.{_ENDS}": r"layers.\1.norm.\2",
        rf"{_LAYER}output\.LayerNorm\.gamma": r"layers.\1.norm.weight",
        rf"{_LAYER}output\.LayerNorm\.beta": r"layers.\1.norm.bias",
        rf"cls\.predictions\.transform\.dense\.{_ENDS}": r"head.\1",
        rf"cls\.predictions\.transform\.LayerNorm\.{_ENDS}": r"head_norm.\1",
        r"cls\.predictions\.transform\.LayerNorm\.gamma": "head_norm.weight",
        r"cls\.predictions\.transform\.LayerNorm\.beta": "head_norm.bias",
        r"cls\.predictions\.bias": "head_bias",
        # The same numbers under another name: the head's matrix is that of the genes.
        r"cls\.predictions\.decoder\.weight": "genes.weight",
        r"cls\.predictions\.decoder\.bias": "head_bias",
    },
    left_out={
        r"bert\.embeddings\.position_ids": "counts the places, which needs no tensor",
        r"bert\.pooler\.dense\.(weight|bias)": "of a classifier that the model was fine-tuned to",
        r"classifier\.(weight|bias)": "of a classifier that the model was fine-tuned to",
    },
    drawn={
        r"head\.(weight|bias)|head_norm\.(weight|bias)|head_bias": (
            "random: the folder is of a classifier and has no head that predicts genes; embeddings do not use it"
        ),
    },
)


def official(folder: Path) -> Official | None:
    """Return what a folder is, if it is one of Geneformer's; see `Official`."""
    if not (folder / CONFIG).is_file():
        return None
    config = read_json(folder / CONFIG)
    if config.get("model_type") != "bert":
        return None
    n_tokens, size = _size(folder, config)
    version = "V2" if size.marked else "V1"
    name = next((name for name, known in SIZES.items() if known == size), "of a size of its own")
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    found = {"tokens": _dictionary(folder, TOKENS, n_tokens), "medians": _dictionary(folder, MEDIANS, n_tokens),
             "names": _dictionary(folder, NAMES, None)}  # fmt: skip
    lacking = {
        "tokens": f"a dictionary of {n_tokens:,} tokens ({TOKENS}), in the folder or in geneformer/ next to it",
        "medians": f"the genes' medians ({MEDIANS}) that belong to it",
        "weights": " or ".join(WEIGHTS),
    }
    files = {role: path for role, path in (("weights", weights), *found.items()) if path}
    return Official(
        title=f"Geneformer {version}, {size.layers} layers of width {size.width} ({name}), {n_tokens:,} tokens",
        files=files,
        lacking={role: what for role, what in lacking.items() if role not in files},
        config={"size": asdict(size), "n_tokens": n_tokens},
    )


def _size(folder: Path, config: dict[str, Any]) -> tuple[int, Size]:
    """Read the widths of a network from its configuration."""
    path = folder / CONFIG
    try:
        n_tokens, longest = (whole_number(path, config, name, least=3) for name in ("vocab_size", PLACES_KEY))
        widths = {ours: whole_number(path, config, theirs) for ours, theirs in WIDTHS.items()}
        size = Size(
            **widths,
            longest=longest,
            # The second version has two marks more, and twice the places.
            marked=longest > 2048 or n_tokens == 20_275,
            dropout=float(config.get("hidden_dropout_prob", 0.02)),
        )
    except (ModelError, TypeError, ValueError) as error:
        what = in_words(error).removeprefix(f"{path}: ")
        raise ModelError(f"{path}: is no configuration of Geneformer: {shortened(what)}") from error
    if (function := config.get("hidden_act", "relu")) != "relu":
        raise ModelError(f"{path}: is of another BERT: hidden_act should be 'relu'; {shortened(repr(function))}")
    return n_tokens, size


def _dictionary(folder: Path, pattern: str, n_tokens: int | None) -> Path | None:
    """Find a dictionary by its name and, of several, the one with as many entries as the weights have tokens."""
    found = list(_named(folder, pattern))
    if n_tokens is None or len(found) < 2:
        return found[0] if found else None
    return next((path for path in found if 0 <= n_tokens - len(read_dictionary(path)) <= 4), found[0])


def _named(folder: Path, pattern: str) -> Iterator[Path]:
    for place in PLACES:
        inside = (folder / place).glob(pattern) if (folder / place).is_dir() else ()
        yield from sorted(path for path in inside if path.suffix in (".pkl", ".pickle", ".json"))
