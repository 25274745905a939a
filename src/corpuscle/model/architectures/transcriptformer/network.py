"""TranscriptFormer: reads a cell's genes one after the other, and says which comes next and how many counts it has.

Pearce et al. 2025, doi 10.1101/2025.04.25.650731. Genes enter through vectors of their proteins (ESM-2), so that other
species' can, too. Axes in names: T tokens of a batch, J of them genes, B cells, D width, H heads, V tokens there are.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from corpuscle.model.architectures.transcriptformer.sizes import Size
from corpuscle.model.nn.capped_attention import attend_to_earlier
from corpuscle.model.nn.layers import dropout, table
from corpuscle.model.nn.recomputed import recomputed
from corpuscle.model.nn.token_network import Objective, TokenNetwork, sum_of_cells
from corpuscle.model.tokenisers.gene_sequence import GeneSequence
from corpuscle.model.tokenisers.tokens import Tokens

# Scores of attention and of genes stay within this.
CAP = 10.0
# Added to counts before a logarithm is taken, and to what is expected of them.
EPS = 1e-6
DROPOUT = 0.1
# Tokens whose next gene is predicted at once: their scores take PREDICTED × V numbers.
PREDICTED = 1024


class Head(nn.Module):
    """Two layers, with ReLU, a norm and dropout between them."""

    def __init__(self, n_in: int, n_hidden: int, n_out: int) -> None:
        super().__init__()
        self.up, self.norm, self.down = nn.Linear(n_in, n_hidden), nn.LayerNorm(n_hidden), nn.Linear(n_hidden, n_out)

    def forward(self, x: Tensor, noise: torch.Generator | None) -> Tensor:
        """Return what comes out, for each row of x; `noise` draws dropout (None: none)."""
        out: Tensor = self.down(dropout(self.norm(self.up(x).relu()), DROPOUT, noise))
        return out


class Layer(nn.Module):
    """Attention to earlier tokens, and two layers with GELU; each adds to what was normalised for it."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width = size.width
        self.n_heads = size.heads
        self.norm_attention, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.up, self.down = (
            nn.Linear(width, size.feed_forward, bias=False),
            nn.Linear(size.feed_forward, width, bias=False),
        )

    def forward(
        self, x_TD: Tensor, tokens: Tokens, pull_T: Tensor, noise: torch.Generator | None, *, pulls_itself: bool
    ) -> Tensor:
        """Return the layer's output, shape (T, D); see `attend_to_earlier`."""
        x_TD = self.norm_attention(x_TD)
        query, key, value = (
            layer(x_TD).reshape(len(x_TD), self.n_heads, -1) for layer in (self.query, self.key, self.value)
        )
        attended = attend_to_earlier(
            query, key, value, tokens.lengths, pull_T=pull_T, cap=CAP, pulls_itself=pulls_itself
        )
        x_TD = self.norm(x_TD + self.out(attended.reshape(x_TD.shape)))
        inner = dropout(functional.gelu(self.up(x_TD)), DROPOUT, noise)
        out_TD: Tensor = x_TD + self.down(inner)
        return out_TD


class Sequences(NamedTuple):
    """What became of some cells' tokens.

    Attributes
    ----------
    hidden_TD
        The network's output; each position has seen the tokens up to its own.
    vector_TD
        The tokens' vectors, as they went in.
    gene_J
        Which positions are genes. The position before each predicts it.
    cell_J
        Their cells.
    """

    hidden_TD: Tensor
    vector_TD: Tensor
    gene_J: Tensor
    cell_J: Tensor


class Network(TokenNetwork):
    """TranscriptFormer's network.

    Parameters
    ----------
    size
        Its size.
    n_names, n_assays
        How many tokens there are, special ones included and assays not; and how many assays, the unknown one included.
    given_vectors
        Whether the genes' vectors are given (and stay as they are) or learned.
    scaled_by
        What the sum over a cell's tokens is divided by for its embedding: None: by their number.
    """

    tokeniser: GeneSequence

    def __init__(
        self, size: Size, n_names: int, n_assays: int, *, given_vectors: bool, scaled_by: float | None
    ) -> None:
        super().__init__()
        self.n_latent, self.scaled_by = size.width, scaled_by
        width, n_vector = size.width, size.vector or size.width
        # Given ones are no parameters: nothing that trains a network ever moves them.
        vectors = torch.empty(n_names, n_vector)
        if given_vectors:
            self.register_buffer("vectors", vectors)
        else:
            self.vectors = nn.Parameter(vectors)
        self.into = Head(n_vector, width, width)
        self.assay = table(n_assays, width)
        self.layers = nn.ModuleList(Layer(size) for _ in range(size.layers))
        self.gene_level = table(n_names, 1)
        self.count_head = Head(2 * width, width // 2, 1)
        self.gene_head = Head(width, size.gene_hidden, n_names)

    @property
    def blocks(self) -> list[nn.Module]:
        """Its layers."""
        return list(self.layers)

    def gene_vectors(self, token_M: Tensor) -> Tensor:
        """Return the vectors of genes, as the network makes them of their proteins', shape (M, D)."""
        vectors_MD: Tensor = self.into(self.vectors[token_M], None)
        return vectors_MD

    def pooled(self, tokens: Tokens, noise: torch.Generator | None) -> Tensor:
        """Embed cells, shape (B, D): the sum over START and genes, divided by `scaled_by`; see `TokenNetwork.pooled`.

        As published, a token is drawn to itself by its own count here, as it is not in training. A cell of the longest
        length ends with a gene that is only predicted.
        """
        hidden_TD = self._encoded(tokens, self._vectors(tokens, noise), noise, pulls_itself=True)
        pooled_T = tokens.ids < self.tokeniser.n_names
        n_genes_B = sum_of_cells(self.is_gene(tokens).long(), tokens)
        last_B = tokens.starts[1:].to(hidden_TD.device) - 1
        pooled_T[last_B[n_genes_B == self.tokeniser.longest]] = False
        sum_BD = sum_of_cells(hidden_TD * pooled_T[:, None], tokens) * (n_genes_B > 0)[:, None]
        if self.scaled_by is not None:
            return sum_BD / self.scaled_by
        return sum_BD / sum_of_cells(pooled_T.to(sum_BD.dtype), tokens).clamp(min=1)[:, None]

    def objective(self, tokens: Tokens, noise: torch.Generator, *, trains: bool) -> Objective:
        """Return the loss of counts and of genes, each a mean over the batch's tokens, as published."""
        found = self.sequences(tokens, noise if trains else None)
        count_J = self.count_losses(
            self.expected(found, tokens, noise if trains else None), tokens.values[found.gene_J]
        )
        position_P, target_P = self.predicted(tokens)
        gene_P = self.gene_losses(found.hidden_TD[position_P], target_P, noise if trains else None)
        per_cell = {
            "count_nll": _mean_by(count_J, found.cell_J, len(tokens)),
            "gene_cross_entropy": _mean_by(gene_P, tokens.cell_T[position_P], len(tokens)),
        }
        loss = gene_P.mean() + (count_J.mean() if len(count_J) else 0.0)
        return Objective(loss, {"loss": sum(per_cell.values()), **per_cell})  # type: ignore[dict-item]

    def sequences(self, tokens: Tokens, noise: torch.Generator | None, *, pulls_itself: bool = False) -> Sequences:
        """Run the network; as in training and for likelihoods, no token is drawn to itself by its own count."""
        vector_TD = self._vectors(tokens, noise)
        hidden_TD = self._encoded(tokens, vector_TD, noise, pulls_itself=pulls_itself)
        gene_J = torch.nonzero(self.is_gene(tokens))[:, 0]
        return Sequences(hidden_TD, vector_TD, gene_J, tokens.cell_T[gene_J])

    def expected(self, found: Sequences, tokens: Tokens, noise: torch.Generator | None) -> Tensor:
        """Return the count that is expected of each gene, shape (J,), from the genes before it.

        A cell's expected counts add up to the counts of its tokens: they are shares of a known sum, among genes that
        are known to have counts.
        """
        seen_JD, asked_JD = found.hidden_TD[found.gene_J - 1], found.vector_TD[found.gene_J]
        logit_J = self.gene_level(tokens.ids[found.gene_J])[:, 0]
        logit_J = logit_J + self.count_head(torch.cat([seen_JD, asked_JD], 1), noise)[:, 0]
        top_B = logit_J.new_full((len(tokens),), -torch.inf).scatter_reduce(0, found.cell_J, logit_J.detach(), "amax")
        odds_J = (logit_J - top_B[found.cell_J]).exp()
        zero_B = odds_J.new_zeros(len(tokens))
        all_B = zero_B.index_add(0, found.cell_J, odds_J)
        counts_B = zero_B.index_add(0, found.cell_J, tokens.values[found.gene_J])
        expected_J: Tensor = odds_J * (counts_B / all_B.clamp(min=1e-30))[found.cell_J]
        return expected_J

    def count_losses(self, expected_J: Tensor, count_J: Tensor, *, exact: bool = False) -> Tensor:
        """Return the negative log-likelihood of counts above 0, in nats, by a Poisson law without its 0.

        Parameters
        ----------
        expected_J, count_J
            What is expected, and what was counted.
        exact
            Whether log(eˣ - 1) is what it is; as published, it is approximated in training.
        """
        x_J = expected_J + EPS
        # Of log(eˣ - 1), in forms that are sound for large x.
        norm_J = x_J + torch.log(-torch.expm1(-x_J)) if exact else (x_J - functional.softplus(-x_J)).clamp(min=0)
        loss_J: Tensor = -count_J * torch.log(x_J) + norm_J + torch.lgamma(count_J + 1)
        return loss_J

    def gene_losses(self, hidden_PD: Tensor, target_P: Tensor, noise: torch.Generator | None) -> Tensor:
        """Return the cross-entropy of the next token, in nats, shape (P,)."""
        head = self.gene_head
        inner_PH = dropout(head.norm(head.up(hidden_PD).relu()), DROPOUT, noise)

        def losses(inner_PH: Tensor, target_P: Tensor) -> Tensor:
            logit_PV = CAP * torch.tanh(head.down(inner_PH) / CAP)
            return functional.cross_entropy(logit_PV, target_P, reduction="none")

        parts = zip(torch.split(inner_PH, PREDICTED), torch.split(target_P, PREDICTED), strict=True)
        return torch.cat([recomputed(losses, *part) for part in parts])

    def predicted(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Return the positions that predict a token, and which: the next of the cell, or that it ends."""
        ends_B = tokens.starts[1:].to(tokens.ids.device) - 1
        next_T = tokens.ids.roll(-1)
        next_T[ends_B] = self.tokeniser.end
        n_genes_B = sum_of_cells(self.is_gene(tokens).long(), tokens)
        predicts_T = tokens.ids < self.tokeniser.n_names
        # Of a cell of the longest length it is not known whether it ends.
        predicts_T[ends_B[n_genes_B == self.tokeniser.longest]] = False
        position_P = torch.nonzero(predicts_T)[:, 0]
        return position_P, next_T[position_P]

    def is_gene(self, tokens: Tokens) -> Tensor:
        """Return which tokens are genes, shape (T,)."""
        is_gene: Tensor = (tokens.ids < self.tokeniser.n_names) & (tokens.ids != self.tokeniser.start)
        return is_gene

    def _vectors(self, tokens: Tokens, noise: torch.Generator | None) -> Tensor:
        """Return the tokens' vectors, shape (T, D): of genes through a head, of assays as they are."""
        is_assay_T = tokens.ids >= self.tokeniser.n_names
        # Each gene once, however many cells have it.
        id_U, place_T = torch.unique(tokens.ids.masked_fill(is_assay_T, self.tokeniser.start), return_inverse=True)
        vector_TD = self.into(self.vectors[id_U], noise)[place_T]
        assay_TD = self.assay((tokens.ids - self.tokeniser.n_names).clamp(min=0))
        return torch.where(is_assay_T[:, None], assay_TD, vector_TD)

    def _encoded(
        self, tokens: Tokens, vector_TD: Tensor, noise: torch.Generator | None, *, pulls_itself: bool
    ) -> Tensor:
        pull_T = torch.log1p(tokens.values + EPS)
        x_TD = vector_TD
        for layer in self.layers:
            x_TD = layer(x_TD, tokens, pull_T, noise, pulls_itself=pulls_itself)
        return x_TD


def _mean_by(value_P: Tensor, cell_P: Tensor, n_cells: int) -> Tensor:
    """Return each cell's mean, shape (B,); 0 where it has none."""
    zero_B = value_P.new_zeros(n_cells)
    n_B = zero_B.index_add(0, cell_P, torch.ones_like(value_P))
    return zero_B.index_add(0, cell_P, value_P) / n_B.clamp(min=1)
