"""Tiny files with the schema of those that the full studies of imbalance name, so that the studies can be checked."""

import json
import re
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix

from corpuscle import Results
from corpuscle.evaluation import embedding
from corpuscle.evaluation.metrics import mixing
from corpuscle.evaluation.metrics.neighbours import Neighbours
from corpuscle.evaluation.tasks import integration
from corpuscle.evaluation.tasks.annotation import Annotation
from corpuscle.evaluation.tasks.clustering import Clustering
from corpuscle.evaluation.tasks.integration import Integration
from corpuscle.execution import workflow

STUDIES = Path(__file__).resolve().parents[2] / "studies"
N_GENES = 60
SYMBOLS = [f"GEN{at}A" for at in range(N_GENES)]
IDS = [f"ENSG{at:011}" for at in range(N_GENES)]
TYPES = ("CD8 T cell", "NK cell", "CD14 monocyte")


def cells(n_of_each: int, obs: dict[str, list[str]], of: str = "celltype", seed: int = 0) -> ad.AnnData:
    """Cells of three types, so many of each, with further labels, each given in turn."""
    rng, n = np.random.default_rng(seed), n_of_each * len(TYPES)
    level = rng.gamma(1.0, 2.0, (len(TYPES), N_GENES)) + 0.5
    kind = np.arange(n) % len(TYPES)
    labels = {name: [values[at % len(values)] for at in range(n)] for name, values in obs.items()}
    table = pd.DataFrame({of: np.array(TYPES)[kind], **labels}, index=[f"cell{seed}_{at}" for at in range(n)])
    var = pd.DataFrame({"gene": SYMBOLS, "symbol": SYMBOLS, "ensembl_id": IDS}, index=SYMBOLS)
    return ad.AnnData(csr_matrix(rng.poisson(level[kind]).astype(np.float32)), obs=table, var=var)


def _drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {name: 0.1 * torch.randn(shape, generator=rng) for name, shape in shapes.items()}


def _affine(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def scgpt(folder: Path) -> None:
    """Write a folder as scGPT's: args.json, vocab.json, best_model.pt."""
    folder.mkdir(parents=True)
    width, names = 16, ["<pad>", "<cls>", "<eoc>", *SYMBOLS]
    args = {"embsize": width, "nheads": 2, "d_hid": 8, "nlayers": 1, "n_bins": 51, "max_seq_len": 1200, "pad_value": -2,
            "mask_value": -1, "input_emb_style": "continuous", "MVC": True, "dropout": 0.2}  # fmt: skip
    layer = "transformer_encoder.layers.0"
    shapes = {
        "encoder.embedding.weight": (len(names), width), **_affine("encoder.enc_norm", width),
        **_affine("value_encoder.linear1", width, 1), **_affine("value_encoder.linear2", width, width),
        **_affine("value_encoder.norm", width), **_affine("decoder.fc.0", width, width),
        **_affine("decoder.fc.2", width, width), **_affine("decoder.fc.4", 1, width),
        **_affine("mvc_decoder.gene2query", width, width), "mvc_decoder.W.weight": (width, width),
        f"{layer}.self_attn.in_proj_weight": (3 * width, width), f"{layer}.self_attn.in_proj_bias": (3 * width,),
        **_affine(f"{layer}.self_attn.out_proj", width, width), **_affine(f"{layer}.linear1", 8, width),
        **_affine(f"{layer}.linear2", width, 8), **_affine(f"{layer}.norm1", width), **_affine(f"{layer}.norm2", width),
    }  # fmt: skip
    (folder / "args.json").write_text(json.dumps(args))
    (folder / "vocab.json").write_text(json.dumps({name: at for at, name in enumerate(names)}))
    torch.save(_drawn(shapes), folder / "best_model.pt")


def geneformer(folder: Path) -> None:
    """Write a folder as Geneformer's first version: config.json, pytorch_model.bin, and its dictionaries."""
    folder.mkdir(parents=True)
    width, tokens = 16, {name: at for at, name in enumerate(["<pad>", "<mask>", *IDS])}
    config = {"model_type": "bert", "hidden_size": width, "num_hidden_layers": 1, "num_attention_heads": 2,
              "intermediate_size": 32, "vocab_size": len(tokens), "max_position_embeddings": 32,
              "hidden_act": "relu", "hidden_dropout_prob": 0.02}  # fmt: skip
    layer, head = "bert.encoder.layer.0", "cls.predictions.transform"
    shapes = {
        "bert.embeddings.word_embeddings.weight": (len(tokens), width),
        "bert.embeddings.position_embeddings.weight": (32, width),
        "bert.embeddings.token_type_embeddings.weight": (2, width), **_affine("bert.embeddings.LayerNorm", width),
        "cls.predictions.bias": (len(tokens),), **_affine(f"{head}.dense", width, width),
        **_affine(f"{head}.LayerNorm", width),
        **{key: shape for part in ("query", "key", "value")
           for key, shape in _affine(f"{layer}.attention.self.{part}", width, width).items()},
        **_affine(f"{layer}.attention.output.dense", width, width),
        **_affine(f"{layer}.attention.output.LayerNorm", width), **_affine(f"{layer}.intermediate.dense", 32, width),
        **_affine(f"{layer}.output.dense", width, 32), **_affine(f"{layer}.output.LayerNorm", width),
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "token_dictionary_gc30M.json").write_text(json.dumps(tokens))
    (folder / "gene_median_dictionary_gc30M.json").write_text(json.dumps(dict.fromkeys(IDS, 1.5)))
    torch.save(_drawn(shapes), folder / "pytorch_model.bin")


def scbert(folder: Path) -> None:
    """Write a folder as scBERT's: panglao_pretrain.pth, and the list of its genes."""
    folder.mkdir(parents=True)
    width, inner, places = 12, 16, N_GENES + 1
    layer = "performer.net.layers.0"
    shapes = {
        "token_emb.weight": (7, width), "pos_emb.emb.weight": (places, width), **_affine("norm", width),
        **_affine("to_out", 7, width), **_affine(f"{layer}.0.norm", width), **_affine(f"{layer}.1.norm", width),
        **{f"{layer}.0.fn.to_{part}.weight": (inner, width) for part in "qkv"},
        **_affine(f"{layer}.0.fn.to_out", width, inner), **_affine(f"{layer}.1.fn.fn.w1", 4 * width, width),
        **_affine(f"{layer}.1.fn.fn.w2", width, 4 * width), f"{layer}.0.fn.fast_attention.projection_matrix": (16, 8),
    }  # fmt: skip
    tensors = _drawn(shapes) | {"performer.calls_since_last_redraw": torch.tensor(0)}
    torch.save({"epoch": 1, "model_state_dict": tensors}, folder / "panglao_pretrain.pth")
    (folder / "genes.txt").write_text("\n".join(SYMBOLS))


def transcriptformer(folder: Path) -> None:
    """Write a folder as TranscriptFormer's: config.json, model_weights.pt, vocabs/."""
    (folder / "vocabs").mkdir(parents=True)
    width, vector, special = 16, 12, ["unknown", "[PAD]", "[START]", "[END]", "[RD]", "[CELL]", "[MASK]"]
    with h5py.File(folder / "vocabs" / "homo_sapiens_gene.h5", "w") as file:
        file["keys"] = np.array(IDS, "S")
        for at, gene in enumerate(IDS):
            file[f"arrays/{gene}"] = np.random.default_rng(at).normal(size=vector).astype(np.float32)
    model = {"embed_dim": width, "model_dim": 24, "num_layers": 1, "num_heads": 2, "seq_len": 25, "softcap": 10,
             "gene_head_hidden_dim": 8, "mu_link_fn": "softmax", "attn_bias": False, "_target_": "a.b"}  # fmt: skip
    data = {"esm2_mappings": ["homo_sapiens_gene.h5"], "special_tokens": special, "aux_cols": "assay"}
    config = {"model": {"model_config": model, "data_config": data, "loss_config": {}}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocabs" / "assay_vocab.json").write_text(json.dumps({"unknown": 0}))
    torch.save(_drawn(_transcriptformer_shapes(width, vector)), folder / "model_weights.pt")


def _transcriptformer_shapes(width: int, vector: int) -> dict[str, tuple[int, ...]]:
    n_tokens, layer = N_GENES + 7, "transformer_encoder.encoder_layers.0"
    shapes: dict[str, tuple[int, ...]] = {
        "gene_embeddings.embedding.weight": (n_tokens, vector), "aux_embeddings.assay.weight": (1, width),
        "mu.gene_embedding.weight": (n_tokens, 1), f"{layer}.linear1.weight": (24, width),
        f"{layer}.linear2.weight": (width, 24), **_affine(f"{layer}.norm1", width), **_affine(f"{layer}.norm2", width),
        **{f"{layer}.self_attn.linears.{at}.weight": (width, width) for at in range(4)},
    }  # fmt: skip
    for head, n_in, n_hidden, n_out in (
        ("gene_embeddings.mlp", vector, width, width),
        ("mu.mlp", 2 * width, 8, 1),
        ("gene_id_head", width, 8, n_tokens),
    ):
        shapes |= _affine(f"{head}.layers.0", n_hidden, n_in) | _affine(f"{head}.layers.2", n_hidden)
        shapes |= _affine(f"{head}.layers.4", n_out, n_hidden)
    return shapes


MODELS = {
    "scGPT_human": scgpt,
    "gf-12L-30M-i2048": geneformer,
    "scbert": scbert,
    "tf_sapiens": transcriptformer,
}


def models(folder: Path) -> None:
    """Write all model folders, by the names that the studies give them."""
    for name, write in MODELS.items():
        write(folder / name)


def cut(study: str, changes: Mapping[str, str]) -> str:
    """Return the text of a study file with patterns replaced, each of which must be there."""
    for pattern, new in changes.items():
        study, n = re.subn(pattern, new, study)
        assert n, f"no {pattern} in the study"
    return study


def leave_out_slow_parts(patch: pytest.MonkeyPatch) -> None:
    """Leave out of a run what takes long and no claim is about: maps, the report, and metrics that are compiled."""
    for task in (Annotation, Clustering, Integration):
        patch.setattr(task, "maps", False)
    patch.setattr(workflow, "written", lambda folder: None)
    patch.setattr(embedding, "connectivities", _neighbour_graph)
    patch.setattr(integration, "_measured", lambda *given: (dict.fromkeys(integration.WHOLE, np.nan), {}))
    patch.setattr(integration, "_by_batch", lambda *given, problem: ())
    patch.setattr(mixing, "kbet", lambda graph, type_N, batch_N: {})


def _neighbour_graph(found: Neighbours) -> csr_matrix:
    """Connect each cell with its nearest, all alike."""
    n_cells, n_nearest = found.index_NJ.shape
    ones = np.ones(found.index_NJ.size, np.float32)
    graph = csr_matrix((ones, (np.repeat(np.arange(n_cells), n_nearest), found.index_NJ.ravel())), (n_cells, n_cells))
    return graph.maximum(graph.T).tocsr()


def claims_of(study: str, runs: Mapping[str, Results]) -> list[Any]:
    """Ask a study's claims.py for its claims, as studies/summarise.py does."""
    sys.path.insert(0, str(STUDIES))
    try:
        return runpy.run_path(str(STUDIES / study / "claims.py"))["claims"](dict(runs))  # type: ignore[no-any-return]
    finally:
        sys.path.remove(str(STUDIES))
