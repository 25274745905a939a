"""How a TranscriptFormer begins: with random weights on a study's genes, or with published ones.

Axes in names: G genes of the study, V tokens there are, U genes with a vector, E numbers of a vector.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from corpuscle.core.errors import ModelError
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.architectures.transcriptformer import weights
from corpuscle.model.architectures.transcriptformer.network import Network
from corpuscle.model.architectures.transcriptformer.sizes import Size
from corpuscle.model.families.foundation import Opened, files_of, random_weights
from corpuscle.model.foreign.accounting import load_renamed
from corpuscle.model.nn.initial import drawn
from corpuscle.model.tokenisers.gene_sequence import GeneSequence
from corpuscle.model.tokenisers.gene_tokens import Vocabulary, gene_tokens


class GivenGenes(NamedTuple):
    """A study's genes that a file has vectors of.

    Attributes
    ----------
    vocabulary
        All genes of the file.
    number_G
        The place of each of the study's genes in `vectors_UE`; -1 where the file has none.
    vectors_UE
        The vectors.
    files
        The hash of the file.
    """

    vocabulary: Vocabulary
    number_G: NDArray[np.int64]
    vectors_UE: NDArray[np.float32]
    files: dict[str, str]


def given_genes(corpus: Corpus, path: Path) -> GivenGenes:
    """Read a file of genes' vectors, as far as a study has the genes."""
    names, vectors = weights.gene_vectors(path)
    vocabulary = Vocabulary({name: at for at, name in enumerate(names)}, "ensembl", {}, str(path))
    row_G = gene_tokens(corpus.space, vocabulary)
    used_U = np.unique(row_G[row_G >= 0])
    number_G = np.where(row_G >= 0, np.searchsorted(used_U, row_G), -1)
    return GivenGenes(vocabulary, number_G, vectors[used_U], files_of(path.parent, path.name))


def sequence(number_G: NDArray[np.int64], n_genes: int, size: Size, assays: Sequence[str]) -> GeneSequence:
    """Return the tokeniser of a network whose special tokens are the usual ones, before the genes."""
    special = weights.SPECIAL
    token_G = np.where(number_G >= 0, number_G + len(special), -1)
    start, end = special.index(weights.START), special.index(weights.END)
    n_names = len(special) + n_genes
    return GeneSequence(token_G, n_names, start=start, end=end, assays=assays, longest=size.genes)


def from_scratch(corpus: Corpus, size: Size, given: GivenGenes | None, seed: int) -> Opened:
    """Return a network with random weights, of a study's genes and assays."""
    assays = sorted(set(corpus.labels("assay").tolist()) - {"", weights.UNKNOWN_ASSAY})
    if given is None:
        number_G, n_genes = np.arange(corpus.n_genes), corpus.n_genes
    else:
        number_G, n_genes = given.number_G, len(given.vectors_UE)
        size = replace(size, vector=given.vectors_UE.shape[1])
    tokeniser = sequence(number_G, n_genes, size, [weights.UNKNOWN_ASSAY, *assays])
    init = random_weights(seed)
    network = drawn(lambda: Network(size, tokeniser, given_vectors=given is not None), init)
    with torch.no_grad():
        network.vectors.normal_(generator=init)
        if given is not None:
            n_special = len(weights.SPECIAL)
            network.vectors[:n_special].uniform_(generator=init)  # as published
            network.vectors[n_special:] = torch.from_numpy(given.vectors_UE)
    facts = {"size": asdict(size), "given_vectors": given is not None, "files": given.files if given else {}}
    return Opened(network, given.vocabulary if given else None, facts)


def from_folder(corpus: Corpus, path: Path, given: GivenGenes | None) -> Opened:
    """Return a network with published weights; with other genes, where such are given."""
    folder = weights.opened_folder(path)
    names, tensors = folder.names, folder.tensors
    genes = {name: at for at, name in enumerate(names) if at >= folder.n_special}
    vocabulary, files = Vocabulary(genes, "ensembl", {}, str(path)), files_of(path, *folder.files)
    token_G, n_names = gene_tokens(corpus.space, vocabulary), len(names)
    if given is not None:
        vocabulary, files = given.vocabulary, files | given.files
        tensors = _of_other_genes(tensors, folder.n_special, given.vectors_UE, vocabulary.place)
        token_G = np.where(given.number_G >= 0, given.number_G + folder.n_special, -1)
        n_names = folder.n_special + len(given.vectors_UE)
    tokeniser = GeneSequence(
        token_G,
        n_names,
        start=names.index(weights.START),
        end=names.index(weights.END),
        assays=sorted(folder.assays, key=folder.assays.__getitem__),
        longest=folder.size.genes,
    )
    with torch.device("meta"):
        network = Network(folder.size, tokeniser, given_vectors=True)
    accounting = load_renamed(network, tensors, weights.RENAMES, str(path / weights.WEIGHTS))
    facts = {"size": asdict(folder.size), "given_vectors": True, "files": files, "tensors": accounting._asdict()}
    return Opened(network, vocabulary, facts)


def _of_other_genes(
    tensors: dict[str, Tensor], n_special: int, vectors_UE: NDArray[np.float32], place: str
) -> dict[str, Tensor]:
    """Return published weights with rows of other genes: their vectors; 0 where a gene's own number was learned."""
    of_vectors = tensors["gene_embeddings.embedding.weight"]
    if of_vectors.shape[1] != vectors_UE.shape[1]:
        raise ModelError(
            f"{place}: vectors have {vectors_UE.shape[1]:,} numbers, this model's {of_vectors.shape[1]:,}; give those "
            "of the same protein model"
        )
    rows = {"gene_embeddings.embedding.weight": torch.from_numpy(vectors_UE)}
    for name in ("mu.gene_embedding.weight", "gene_id_head.layers.4.weight", "gene_id_head.layers.4.bias"):
        if name in tensors:
            rows[name] = torch.zeros(len(vectors_UE), *tensors[name].shape[1:])
    return tensors | {name: torch.cat([tensors[name][:n_special].float(), rest]) for name, rest in rows.items()}
