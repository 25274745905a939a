"""What a TranscriptFormer begins with: the genes of a study, of a published folder, or of a file of vectors.

Axes in names: G genes of the study, V tokens there are, U genes with a vector, E numbers of a vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from corpuscle.core.errors import ModelError
from corpuscle.core.fingerprint import hash_file
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.architectures.transcriptformer import weights
from corpuscle.model.architectures.transcriptformer.sizes import Size
from corpuscle.model.families.foundation_parts import Start
from corpuscle.model.families.official import Official
from corpuscle.model.foreign.tensors import read_tensors
from corpuscle.model.tokenisers.gene_sequence import GeneSequence
from corpuscle.model.tokenisers.gene_tokens import Vocabulary, gene_tokens
from corpuscle.source.genes import GeneSpace


def of_study(corpus: Corpus, size: Size, vectors: Path | None) -> Start:
    """Return what a network with random weights begins with: a study's genes, or those of a file of vectors."""
    known = sorted(set(corpus.labels("assay").tolist()) - {"", weights.UNKNOWN_ASSAY})
    assays, special = [weights.UNKNOWN_ASSAY, *known], weights.SPECIAL
    if vectors is None:
        vocabulary, token_G, n_genes = None, len(special) + np.arange(corpus.n_genes), corpus.n_genes
    else:
        names, vectors_UE = weights.gene_vectors(vectors)
        vocabulary = _vocabulary([*special, *names], len(special), vectors)
        token_G, n_genes = gene_tokens(corpus.space, vocabulary), len(names)
        size = replace(size, vector=vectors_UE.shape[1])
    config = {"size": asdict(size), "n_names": len(special) + n_genes, "n_assays": len(assays), "special": [*special],
              "given_vectors": vectors is not None}  # fmt: skip
    if vectors is not None:
        config["gene_vectors"] = hash_file(vectors)
    return Start(config, _sequence(token_G, config, assays), vocabulary)


def of_folder(found: Official, space: GeneSpace, vectors: Path | None) -> Start:
    """Return what published weights begin with: their genes, or in their place those of a file of vectors."""
    special, assays = found.config["special"], weights.assays_of(found.files["assays"])
    if vectors is None:
        names, place, config = weights.names_of(special, found.files), found.files["genes 0"], found.config
    else:
        names, place = _joined_names(special, vectors), vectors
        config = {**found.config, "n_names": len(names), "gene_vectors": hash_file(vectors)}
    vocabulary = _vocabulary(names, len(special), place)
    return Start(config, _sequence(gene_tokens(space, vocabulary), config, assays), vocabulary)


def vocabulary_of(vectors: Path) -> Vocabulary:
    """Return the genes of a file of vectors."""
    special = weights.SPECIAL
    return _vocabulary([*special, *_joined_names((), vectors)], len(special), vectors)


def contents(found: Official, vectors: Path | None) -> tuple[Mapping[str, Any], Mapping[str, Tensor]]:
    """Return a folder's config and tensors.

    With other genes, they have the vectors of these, and 0 where a gene's own number was learned.

    Raises
    ------
    ModelError
        When the folder's genes are not as many as its weights are for, or vectors have another length.
    """
    tensors = read_tensors(found.files["weights"])
    n_special, n_names = len(found.config["special"]), found.config["n_names"]
    rows_V = tensors.get("gene_embeddings.embedding.weight")
    if rows_V is not None and rows_V.dim() == 2 and len(rows_V) != n_names:
        raise ModelError(
            f"{found.files['genes 0']}: its genes and {n_special} special tokens make {n_names:,} tokens, the weights "
            f"have rows for {len(rows_V):,}; these are the genes of another model or species"
        )
    if vectors is None:
        return found.config, tensors
    names, vectors_UE = weights.gene_vectors(vectors)
    length = found.config["size"]["vector"]
    if length != vectors_UE.shape[1]:
        raise ModelError(
            f"{vectors}: vectors have {vectors_UE.shape[1]:,} numbers, this model's {length:,}; give those of the same "
            "protein model"
        )
    rows: dict[str, Tensor] = {"gene_embeddings.embedding.weight": torch.from_numpy(vectors_UE)}
    for name in ("mu.gene_embedding.weight", "gene_id_head.layers.4.weight", "gene_id_head.layers.4.bias"):
        if name in tensors:
            rows[name] = torch.zeros(len(names), *tensors[name].shape[1:])
    changed = {name: torch.cat([tensors[name][:n_special].float(), rest]) for name, rest in rows.items()}
    return {**found.config, "n_names": n_special + len(names)}, tensors | changed


def _joined_names(special: Sequence[str], vectors: Path) -> tuple[str, ...]:
    return weights.names_of(special, {"genes 0": vectors})


def _vocabulary(names: Sequence[str], n_special: int, place: Path) -> Vocabulary:
    return Vocabulary({name: at for at, name in enumerate(names) if at >= n_special}, "ensembl", {}, str(place))


def _sequence(token_G: NDArray[np.int64], config: Mapping[str, Any], assays: Sequence[str]) -> GeneSequence:
    return GeneSequence(
        token_G,
        config["n_names"],
        start=config["special"].index(weights.START),
        end=config["special"].index(weights.END),
        assays=assays,
        longest=config["size"]["genes"],
    )
