"""Transformer blocks that normalise after each sum, as BERT's, with ReLU: those of Geneformer and scGPT.

Vaswani et al. 2017, arXiv 1706.03762. Axes in names: T tokens, D width, H heads, C channels of a head.
"""

import torch
from torch import Tensor, nn

from corpuscle.model.nn.attention import attend
from corpuscle.model.nn.layers import dropout


class PostNormBlock(nn.Module):
    """Attention, sum, norm; two layers with ReLU, sum, norm.

    Parameters
    ----------
    width, n_heads, n_hidden
        D, H, and the units of the two layers' hidden one.
    eps
        What the norms add to the variance.
    dropout
        Share that is dropped of what attention and the two layers add, in training; not of attention itself.
    inner_dropout
        Share that is dropped of the hidden units, in training.
    """

    def __init__(
        self, width: int, n_heads: int, n_hidden: int, *, eps: float, dropout: float, inner_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.n_heads, self.dropout, self.inner_dropout = n_heads, dropout, inner_dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_attention = nn.LayerNorm(width, eps)
        self.up = nn.Linear(width, n_hidden)
        self.down = nn.Linear(n_hidden, width)
        self.norm = nn.LayerNorm(width, eps)

    def forward(self, x_TD: Tensor, lengths: list[int], noise: torch.Generator | None) -> Tensor:
        """Return the block's output, shape (T, D).

        Parameters
        ----------
        x_TD
            Its input.
        lengths
            How many tokens each cell has.
        noise
            Draws dropout; None: none.
        """
        n_tokens, width = x_TD.shape
        # The width of a head in numbers: a batch of cells without genes has no tokens to find it by.
        query, key, value = self.qkv(x_TD).reshape(n_tokens, 3, self.n_heads, width // self.n_heads).unbind(1)
        attended_TD = self.out(attend(query, key, value, lengths).reshape(x_TD.shape))
        x_TD = self.norm_attention(x_TD + dropout(attended_TD, self.dropout, noise))
        inner = dropout(self.up(x_TD).relu(), self.inner_dropout, noise)
        normed_TD: Tensor = self.norm(x_TD + dropout(self.down(inner), self.dropout, noise))
        return normed_TD

    def attention(self, x_TD: Tensor, lengths: list[int]) -> list[Tensor]:
        """Return how much the tokens of each cell attend to each other, shape (H, L, L) each; rows sum to 1.

        `forward` never forms these: they take memory that grows with L².
        """
        query, key, _ = self.qkv(x_TD).reshape(len(x_TD), 3, self.n_heads, -1).unbind(1)
        pairs = zip(torch.split(query, lengths), torch.split(key, lengths), strict=True)
        scale = query.shape[-1] ** -0.5
        return [(torch.einsum("ihc,jhc->hij", q, k) * scale).softmax(-1) for q, k in pairs]
