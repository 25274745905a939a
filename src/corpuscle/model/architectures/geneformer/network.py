"""Geneformer's network: BERT (Devlin et al. 2019, arXiv 1810.04805) with ReLU, over genes in the order of their rank.

Axes in names: B cells of a batch, T tokens of all of them, D width, V tokens there are.
"""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from corpuscle.model.architectures.geneformer.sizes import Size
from corpuscle.model.nn.layers import dropout, table
from corpuscle.model.nn.post_norm import PostNormBlock
from corpuscle.model.nn.token_network import Objective, TokenNetwork, first_of_cells, mean_of_cells
from corpuscle.model.tokenisers.rank_value import RankValue
from corpuscle.model.tokenisers.tokens import Tokens

EPS = 1e-12
# Of the tokens, which share is to be predicted; of these, which share is hidden, and which is another token.
TARGETS, HIDDEN, OTHER = 0.15, 0.8, 0.1
TERM = "masked_nll"

Pooling = Literal["mean", "cls"]


class GeneformerNetwork(TokenNetwork):
    """The network, with its head that predicts tokens.

    Parameters
    ----------
    size
        Its widths.
    n_tokens
        V.
    layer
        Which block's output a cell's embedding is of: 0 the last, -1 the one before it, and so on.
    pooling
        How a cell's tokens become its embedding.
    """

    tokeniser: RankValue

    def __init__(self, size: Size, n_tokens: int, *, layer: int, pooling: Pooling) -> None:
        super().__init__()
        self.layer, self.pooling, self.dropout = layer, pooling, size.dropout
        self.n_latent = width = size.width
        self.genes = table(n_tokens, width)
        self.places = table(size.longest, width)
        # Of two kinds of texts; only the first is used.
        self.kinds = table(2, width)
        self.norm = nn.LayerNorm(width, EPS)
        self.layers = nn.ModuleList(
            PostNormBlock(width, size.heads, size.feed_forward, eps=EPS, dropout=size.dropout)
            for _ in range(size.layers)
        )
        self.head = nn.Linear(width, width)
        self.head_norm = nn.LayerNorm(width, EPS)
        self.head_bias = nn.Parameter(torch.empty(n_tokens))

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer's blocks."""
        return [*self.layers]

    def hidden(self, tokens: Tokens, noise: torch.Generator | None, *, layer: int = 0) -> Tensor:
        """Return the output of a block, shape (T, D); see `layer`."""
        lengths = tokens.lengths
        starts = tokens.starts.to(tokens.ids.device)
        place_T = torch.arange(len(tokens.ids), device=tokens.ids.device) - starts[tokens.cell_T]
        x_TD: Tensor = self.norm(self.genes(tokens.ids) + self.places(place_T) + self.kinds.weight[0])
        x_TD = dropout(x_TD, self.dropout, noise)
        for block in self.layers[: len(self.layers) + layer]:
            x_TD = block(x_TD, lengths, noise)
        return x_TD

    def gene_vectors(self, token_M: Tensor) -> Tensor:
        """Return the vectors of genes, shape (M, D)."""
        vectors_MD: Tensor = self.genes(token_M)
        return vectors_MD

    def attention(self, tokens: Tokens, layer: int) -> list[Tensor]:
        """Return how much a block's tokens attend to each other, of each cell, shape (H, L, L); rows sum to 1.

        Parameters
        ----------
        tokens
            The cells.
        layer
            Which block: 0 the last, -1 the one before it.
        """
        before_TD = self.hidden(tokens, None, layer=layer - 1)
        block = self.layers[len(self.layers) - 1 + layer]
        assert isinstance(block, PostNormBlock), "they all are"
        return block.attention(before_TD, tokens.lengths)

    def pooled(self, tokens: Tokens, noise: torch.Generator | None) -> Tensor:
        """Return the embedding of cells, shape (B, D): of all their genes, or of the mark that they begin with."""
        hidden_TD, marks = self.hidden(tokens, noise, layer=self.layer), self.tokeniser.marks
        is_gene_T = (tokens.ids != marks.first) & (tokens.ids != marks.last)
        n_genes_B = torch.zeros(len(tokens), device=hidden_TD.device).index_add(0, tokens.cell_T, is_gene_T.float())
        if self.pooling == "cls":
            return first_of_cells(hidden_TD, tokens) * (n_genes_B > 0)[:, None]
        genes = Tokens(torch.cat([torch.zeros(1), n_genes_B.cpu().cumsum(0)]).long(), tokens.ids[is_gene_T],
                       tokens.values[is_gene_T])  # fmt: skip
        return mean_of_cells(hidden_TD[is_gene_T], genes)

    def logits(self, hidden_TD: Tensor) -> Tensor:
        """Return how likely each token is at some places, before softmax, shape (T, V)."""
        x_TD = self.head_norm(self.head(hidden_TD).relu())
        return functional.linear(x_TD, self.genes.weight, self.head_bias)

    def objective(self, tokens: Tokens, noise: torch.Generator, *, trains: bool) -> Objective:
        """Return the mean negative log-likelihood of hidden tokens, in nats, over all of a batch's; and by cell.

        Tokens are hidden as BERT's are: 15 % are to be predicted, of which 80 % are replaced by the mask and 10 % by
        any token. Only these are predicted.
        """
        shape, device = tokens.ids.shape, tokens.ids.device
        chosen_T = torch.rand(shape, generator=noise, device=device) < TARGETS
        share_T = torch.rand(shape, generator=noise, device=device)
        other_T = torch.randint(len(self.genes.weight), shape, generator=noise, device=device)
        shown_T = torch.where(chosen_T & (share_T < HIDDEN), self.tokeniser.marks.mask, tokens.ids)
        is_other_T = chosen_T & (share_T >= HIDDEN) & (share_T < HIDDEN + OTHER)
        shown_T = torch.where(is_other_T, other_T, shown_T)
        hidden_TD = self.hidden(replace(tokens, ids=shown_T), noise if trains else None)
        loss_T = functional.cross_entropy(self.logits(hidden_TD[chosen_T]), tokens.ids[chosen_T], reduction="none")
        cell_T = tokens.cell_T[chosen_T]
        sums_B = loss_T.new_zeros(len(tokens)).index_add(0, cell_T, loss_T)
        n_B = torch.bincount(cell_T, minlength=len(tokens)).clamp(min=1)
        return Objective(loss_T.sum() / max(1, len(loss_T)), {TERM: sums_B / n_B})
