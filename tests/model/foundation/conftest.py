"""Small networks of foundation models, and folders as they are published."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from corpuscle.model.architectures.geneformer.network import GeneformerNetwork
from corpuscle.model.architectures.geneformer.sizes import Size
from corpuscle.model.nn.initial import normal_weights

WIDTHS = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 32, "longest": 12}


def published_names(network: GeneformerNetwork) -> dict[str, torch.Tensor]:
    """Write a Geneformer's weights under the published names, one by one."""
    own = network.state_dict()
    found = {
        "bert.embeddings.word_embeddings.weight": own["genes.weight"],
        "bert.embeddings.position_embeddings.weight": own["places.weight"],
        "bert.embeddings.token_type_embeddings.weight": own["kinds.weight"],
        "cls.predictions.bias": own["head_bias"],
    }
    for end in ("weight", "bias"):
        found[f"bert.embeddings.LayerNorm.{end}"] = own[f"norm.{end}"]
        found[f"cls.predictions.transform.dense.{end}"] = own[f"head.{end}"]
        found[f"cls.predictions.transform.LayerNorm.{end}"] = own[f"head_norm.{end}"]
        for at in range(len(network.layers)):
            place = f"bert.encoder.layer.{at}"
            for name, part in zip(("query", "key", "value"), own[f"layers.{at}.qkv.{end}"].chunk(3), strict=True):
                found[f"{place}.attention.self.{name}.{end}"] = part
            found[f"{place}.attention.output.dense.{end}"] = own[f"layers.{at}.out.{end}"]
            found[f"{place}.attention.output.LayerNorm.{end}"] = own[f"layers.{at}.norm_attention.{end}"]
            found[f"{place}.intermediate.dense.{end}"] = own[f"layers.{at}.up.{end}"]
            found[f"{place}.output.dense.{end}"] = own[f"layers.{at}.down.{end}"]
            found[f"{place}.output.LayerNorm.{end}"] = own[f"layers.{at}.norm.{end}"]
    return {name: tensor.clone() for name, tensor in found.items()}


@pytest.fixture
def genes():
    """Thirty genes with Ensembl ids, as the published dictionaries have them."""
    return [f"ENSG{at:011}" for at in range(30)]


@pytest.fixture
def publish(tmp_path: Path):
    """Write a folder as Geneformer's are published; return it and the network."""

    def write(names, *, marked=False, pickled=False, form="safetensors", change=lambda tensors: tensors):
        n_marks = 4 if marked else 2
        network = GeneformerNetwork(Size(**WIDTHS, marked=marked), n_marks + len(names), layer=-1, pooling="mean")
        normal_weights(network, torch.Generator().manual_seed(3))
        for weight in network.parameters():
            weight.data += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
        folder = tmp_path / "repository" / "a folder"
        folder.mkdir(parents=True)
        # Twice the places and more is the second version.
        places = 4096 if marked else WIDTHS["longest"]
        config = {
            "model_type": "bert", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 32, "vocab_size": n_marks + len(names), "max_position_embeddings": places,
            "hidden_act": "relu", "hidden_dropout_prob": 0.02,
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
        tensors = published_names(network)
        if marked:
            tensors["bert.embeddings.position_embeddings.weight"] = torch.zeros(4096, 16)
        tensors = change(tensors)
        if form == "safetensors":
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
        else:
            torch.save(tensors, folder / "pytorch_model.bin")
        dictionaries = folder.parent / "geneformer"
        dictionaries.mkdir()
        marks = ["<pad>", "<mask>", *(["<cls>", "<eos>"] if marked else [])]
        tokens = {name: at for at, name in enumerate([*marks, *names])}
        medians = {name: 0.5 + at for at, name in enumerate(names)}
        for stem, table in (("token_dictionary_gc30M", tokens), ("gene_median_dictionary_gc30M", medians)):
            if pickled:
                kind = np.int16 if table is tokens else np.float64
                numbers = {name: kind(value) for name, value in table.items()}
                (dictionaries / f"{stem}.pkl").write_bytes(pickle.dumps(numbers))
            else:
                (dictionaries / f"{stem}.json").write_text(json.dumps(table))
        return folder, network

    return write
