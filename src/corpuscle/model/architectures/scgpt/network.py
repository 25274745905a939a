"""scGPT's network in plain torch: genes and binned values as tokens, transformer blocks, and what predicts values.

Cui et al. 2024, doi 10.1038/s41592-024-02201-0. Axes in names: B cells, T tokens of all of them, M masked tokens, D
width, E channels of what a decoder is given of a cell.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from corpuscle.model.architectures.scgpt.sizes import MASKED, Size
from corpuscle.model.nn.initial import draw_each
from corpuscle.model.nn.layers import dropout, table
from corpuscle.model.nn.post_norm import PostNormBlock
from corpuscle.model.nn.token_network import Objective, TokenNetwork, first_of_cells, sum_of_cells
from corpuscle.model.tokenisers.bins import BinTokeniser
from corpuscle.model.tokenisers.tokens import Tokens

# Values above are taken for it.
LARGEST_VALUE = 512.0
EPS = 1e-5
# Genes begin within this of 0.
INIT_RANGE = 0.1

Pooling = Literal["cls", "mean"]


class ValueEncoder(nn.Module):
    """What becomes of a token's value: two layers with ReLU, and a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(1, width), nn.Linear(width, width), nn.LayerNorm(width, EPS)

    def forward(self, value_T: Tensor) -> Tensor:
        """Return it, shape (T, D)."""
        hidden_TD = self.up(value_T.clamp(max=LARGEST_VALUE)[:, None]).relu()
        encoded_TD: Tensor = self.norm(self.down(hidden_TD))
        return encoded_TD


class Encoded(NamedTuple):
    """Tokens on their way through the network: their genes before the blocks, and what the last block gives, (T, D)."""

    genes: Tensor
    hidden: Tensor


class ScgptBody(nn.Module):
    """Genes, values and blocks: what all trainings of scGPT share. Order is no input.

    Parameters
    ----------
    size
        Its widths.
    n_tokens
        How many genes there are, special tokens included.
    """

    def __init__(self, size: Size, n_tokens: int) -> None:
        super().__init__()
        # Of values and in the blocks; not of attention, as it was when published.
        self.dropout = size.dropout
        self.genes = table(n_tokens, size.width)
        self.gene_norm = nn.LayerNorm(size.width, EPS)
        self.values = ValueEncoder(size.width)
        self.blocks = nn.ModuleList(
            PostNormBlock(
                size.width, size.heads, size.feed_forward, eps=EPS, dropout=size.dropout, inner_dropout=size.dropout
            )
            for _ in range(size.layers)
        )  # fmt: skip

    def gene_vectors(self, token_M: Tensor) -> Tensor:
        """Return the vectors of genes, shape (M, D)."""
        vectors_MD: Tensor = self.gene_norm(self.genes(token_M))
        return vectors_MD

    def attention(self, tokens: Tokens, layer: int) -> list[Tensor]:
        """Return how much a block's tokens attend to each other, of each cell; see `PostNormBlock.attention`."""
        hidden_TD = self.gene_norm(self.genes(tokens.ids)) + self.values(tokens.values)
        lengths, at = tokens.lengths, len(self.blocks) - 1 + layer
        for block in self.blocks[:at]:
            hidden_TD = block(hidden_TD, lengths, None)
        last = self.blocks[at]
        assert isinstance(last, PostNormBlock), "they all are"
        return last.attention(hidden_TD, lengths)

    def forward(
        self, tokens: Tokens, noise: torch.Generator | None, normalise: Callable[[Tensor], Tensor] | None = None
    ) -> Encoded:
        """Encode cells, with dropout by a generator (None: none); `normalise` is done before the blocks."""
        genes_TD = self.gene_norm(self.genes(tokens.ids))
        hidden_TD = genes_TD + dropout(self.values(tokens.values), self.dropout, noise)
        if normalise is not None:
            hidden_TD = normalise(hidden_TD)
        lengths = tokens.lengths
        for block in self.blocks:
            hidden_TD = block(hidden_TD, lengths, noise)
        return Encoded(genes_TD, hidden_TD)


def value_decoder(n_given: int, width: int) -> nn.Sequential:
    """Make what says one number of a token: three layers with leaky ReLU."""
    return nn.Sequential(
        nn.Linear(n_given, width), nn.LeakyReLU(), nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, 1)
    )


class CellDecoder(nn.Module):
    """What says a gene's value from its cell's embedding alone: the product of a query of the gene and of the cell.

    Parameters
    ----------
    width, n_given
        D and E.
    zeros
        Whether it also says the log odds that the value is not zero.
    """

    def __init__(self, width: int, n_given: int, *, zeros: bool = False) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.weight = nn.Linear(width, n_given, bias=False)
        self.zeros = nn.Linear(width, n_given) if zeros else None

    def forward(self, genes_MD: Tensor, given_BE: Tensor, cell_M: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the value of each gene in its cell, and the log odds, shape (M,) each.

        The cell's side of the products is found once per cell, so that it costs little per gene.
        """
        query_MD = self.query(genes_MD).sigmoid()
        value_M = (query_MD * (given_BE @ self.weight.weight)[cell_M]).sum(-1)
        if self.zeros is None:
            return value_M, None
        odds_M = (query_MD * (given_BE @ self.zeros.weight)[cell_M]).sum(-1)
        return value_M, odds_M + (given_BE @ self.zeros.bias)[cell_M]


class Masked(NamedTuple):
    """Which tokens' values are hidden.

    Attributes
    ----------
    shown
        The tokens as the network sees them.
    is_hidden
        Which are hidden, shape (T,).
    cell
        The cell of each that is, shape (M,).
    value
        Its value, shape (M,).
    """

    shown: Tokens
    is_hidden: Tensor
    cell: Tensor
    value: Tensor

    @classmethod
    def of(cls, tokens: Tokens, is_hidden_T: Tensor) -> "Masked":
        """Hide some tokens' values."""
        values = tokens.values.masked_fill(is_hidden_T, MASKED)
        return cls(replace(tokens, values=values), is_hidden_T, tokens.cell_T[is_hidden_T], tokens.values[is_hidden_T])

    def per_cell(self, error_M: Tensor) -> Tensor:
        """Return the mean of an error over each cell's hidden tokens, shape (B,); 0 where there are none."""
        zero_B = error_M.new_zeros(len(self.shown))
        counts_B = zero_B.index_add(0, self.cell, torch.ones_like(error_M))
        return zero_B.index_add(0, self.cell, error_M) / counts_B.clamp(min=1)


def draw_mask(tokens: Tokens, share: float, noise: torch.Generator, *, first_too: bool) -> Masked:
    """Hide the values of a share of each cell's tokens, rounded down.

    Parameters
    ----------
    tokens
        The cells.
    share
        Which share.
    noise
        Draws which.
    first_too
        Whether the cell's own token, its first, is drawn among them.

    Examples
    --------
    >>> tokens = Tokens(torch.tensor([0, 5]), torch.arange(5), torch.arange(5.0))
    >>> draw_mask(tokens, 0.5, torch.Generator().manual_seed(0), first_too=False).value
    tensor([2., 4.])
    """
    drawn_T = torch.rand(len(tokens.ids), generator=noise, device=noise.device, dtype=torch.float64)
    starts_B, lengths_B = tokens.starts[:-1].to(drawn_T.device), tokens.starts.diff().to(drawn_T.device)
    cell_T = tokens.cell_T
    if not first_too:
        # Behind all others of its cell.
        drawn_T[starts_B[lengths_B > 0]] = 1.0
        lengths_B = (lengths_B - 1).clamp(min=0)
    order_T = torch.argsort(cell_T + drawn_T * 0.5)
    rank_T = torch.empty_like(order_T)
    rank_T[order_T] = torch.arange(len(order_T), device=order_T.device) - starts_B[cell_T]
    return Masked.of(tokens, rank_T < (lengths_B * share).floor()[cell_T])


def unit_length(cell_BD: Tensor, tokens: Tokens) -> Tensor:
    """Scale embeddings to length 1, as published; that of a cell without counts of a known gene becomes 0."""
    n_known_B = sum_of_cells((tokens.values > 0).to(cell_BD.dtype), tokens)
    return functional.normalize(cell_BD, dim=-1) * (n_known_B > 0)[:, None]


def pooled_cells(hidden_TD: Tensor, tokens: Tokens, pooling: Pooling) -> Tensor:
    """Return each cell's first token, or the mean of the others, shape (B, D), at length 1."""
    first_BD = first_of_cells(hidden_TD, tokens)
    if pooling == "cls":
        return unit_length(first_BD, tokens)
    n_others_B = (tokens.starts.diff() - 1).clamp(min=1).to(hidden_TD.device)
    return unit_length((sum_of_cells(hidden_TD, tokens) - first_BD) / n_others_B[:, None], tokens)


class ScgptNetwork(TokenNetwork):
    """scGPT as it embeds, and as it is pre-trained: values are masked and predicted, from the tokens and from the cell.

    Parameters
    ----------
    size
        Its widths.
    n_tokens
        How many genes there are, special tokens included.
    mask_share
        Share of a cell's genes whose values are hidden in training.
    pooling
        What a cell's embedding is.
    """

    tokeniser: BinTokeniser

    def __init__(self, size: Size, n_tokens: int, *, mask_share: float, pooling: Pooling) -> None:
        super().__init__()
        self.n_latent, self.mask_share, self.pooling = size.width, mask_share, pooling
        self.body = ScgptBody(size, n_tokens)
        self.decoder = value_decoder(size.width, size.width)
        self.cell_decoder = CellDecoder(size.width, size.width)

    @property
    def blocks(self) -> list[nn.Module]:
        """Its blocks from first to last."""
        return list(self.body.blocks)

    def gene_vectors(self, token_M: Tensor) -> Tensor:
        """Return the vectors of genes, shape (M, D)."""
        return self.body.gene_vectors(token_M)

    def pooled(self, tokens: Tokens, noise: torch.Generator | None) -> Tensor:
        """Embed cells, shape (B, D), at length 1."""
        return pooled_cells(self.body(tokens, noise).hidden, tokens, self.pooling)

    def attention(self, tokens: Tokens, layer: int) -> list[Tensor]:
        """Return how much a block's tokens attend to each other; see `ScgptBody.attention`."""
        return self.body.attention(tokens, layer)

    def objective(self, tokens: Tokens, noise: torch.Generator, *, trains: bool) -> Objective:
        """Return the mean squared error of hidden bins, from the tokens plus from the cell's embedding."""
        masked = draw_mask(tokens, self.mask_share, noise, first_too=False)
        genes_TD, hidden_TD = self.body(masked.shown, noise if trains else None)
        found_M = self.decoder(hidden_TD[masked.is_hidden])[:, 0]
        cell_BD = first_of_cells(hidden_TD, tokens)
        of_cell_M, _ = self.cell_decoder(genes_TD[masked.is_hidden], cell_BD, masked.cell)
        errors = {"bin_error": (found_M - masked.value) ** 2, "cell_bin_error": (of_cell_M - masked.value) ** 2}
        loss = sum(error_M.sum() for error_M in errors.values()) / max(1, len(masked.value))
        assert isinstance(loss, Tensor), "there are two errors"
        return Objective(loss, {name: masked.per_cell(error_M) for name, error_M in errors.items()})


def draw_weights(network: nn.Module, init: torch.Generator, names: Collection[str] | None = None) -> None:
    """Draw weights as torch does by default, and genes as scGPT does; see `draw_each`."""

    def draw(module: nn.Module, own: str, parameter: Tensor) -> None:
        if isinstance(module, nn.LayerNorm):
            parameter.fill_(float(own == "weight"))
        else:
            bound = module.in_features**-0.5 if isinstance(module, nn.Linear) else INIT_RANGE
            parameter.uniform_(-bound, bound, generator=init)

    draw_each(network, draw, names)
