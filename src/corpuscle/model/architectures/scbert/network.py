"""scBERT: sees a level of expression at each of a fixed list of genes, and predicts levels that are hidden from it.

Yang et al. 2022, doi 10.1038/s42256-022-00534-z. Axes in names: B cells, P positions (the genes and one more), T = B·P
tokens, D width, H heads, C channels of a head, M random features, J hidden levels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from corpuscle.model.architectures.scbert.sizes import Size
from corpuscle.model.nn.layers import table
from corpuscle.model.nn.performer import attend_by_features, drawn_projection
from corpuscle.model.nn.recomputed import recomputed
from corpuscle.model.nn.token_network import Objective, TokenNetwork, sum_of_cells
from corpuscle.model.tokenisers.expression_levels import HIDDEN, N_LEVELS, ExpressionLevels
from corpuscle.model.tokenisers.tokens import Tokens

# Share of a cell's levels above 0 that are to be predicted, and of these, the share that is hidden; as published.
PREDICTED, MASKED = 0.15, 0.9
# Tokens that pass through two-layer networks at once.
ROWS = 4096


class Layer(nn.Module):
    """Attention, and two layers with GELU; each is given what is normalised for it, and added."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width, inner = size.width, size.heads * size.head
        self.n_heads = size.heads
        self.norm_attention, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, inner, bias=False) for _ in range(3))
        self.out = nn.Linear(inner, width)
        self.projection: Tensor
        self.register_buffer("projection", torch.empty(size.n_features, size.head))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_TD: Tensor, n_cells: int) -> Tensor:
        """Return the layer's output, shape (T, D), for the positions of so many cells."""
        normed_TD = self.norm_attention(x_TD)
        query, key, value = (
            layer(normed_TD).reshape(n_cells, len(x_TD) // n_cells, self.n_heads, -1)
            for layer in (self.query, self.key, self.value)
        )
        attended = attend_by_features(query, key, value, self.projection)
        x_TD = x_TD + self.out(attended.reshape(len(x_TD), -1))
        return x_TD + torch.cat([recomputed(self._inner, part) for part in torch.split(x_TD, ROWS)])

    def _inner(self, x_TD: Tensor) -> Tensor:
        inner: Tensor = self.down(functional.gelu(self.up(self.norm(x_TD))))
        return inner


class Network(TokenNetwork):
    """scBERT's network; it has no dropout, as published.

    Parameters
    ----------
    size
        Its size.
    n_positions
        P: how many genes are listed, and one more.
    given_positions
        Whether the genes' vectors are given (and stay as they are) or learned.
    expressed_only
        Whether a cell's embedding is the mean over genes with a level above 0, rather than over all positions.
    redraw
        After how many batches in training the random features are drawn anew; 0: never.

    Attributes
    ----------
    since_redraw
        How many batches it was trained on since.
    """

    tokeniser: ExpressionLevels

    def __init__(
        self,
        size: Size,
        n_positions: int,
        *,
        given_positions: bool,
        expressed_only: bool = False,
        redraw: int = 0,
    ) -> None:
        super().__init__()
        self.n_latent = size.width
        self.expressed_only, self.redraw = expressed_only, redraw
        self.level = table(N_LEVELS, size.width)
        positions = torch.empty(n_positions, size.width)
        # Given ones are no parameters: nothing that trains a network ever moves them.
        if given_positions:
            self.register_buffer("positions", positions)
        else:
            self.positions = nn.Parameter(positions)
        self.layers = nn.ModuleList(Layer(size) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width)
        self.head = nn.Linear(size.width, N_LEVELS)
        self.since_redraw: Tensor
        self.register_buffer("since_redraw", torch.zeros((), dtype=torch.int64))

    @property
    def blocks(self) -> list[nn.Module]:
        """Its layers, the last with the norm that follows it."""
        return [*self.layers[:-1], nn.ModuleList([self.layers[-1], self.norm])]

    def draw_features(self, noise: torch.Generator) -> None:
        """Draw the random features of all layers."""
        for layer in self.layers:
            assert isinstance(layer, Layer), "it was made here"
            layer.projection.copy_(drawn_projection(len(layer.projection), layer.projection.shape[1], noise))
        self.since_redraw.zero_()

    def gene_vectors(self, token_M: Tensor) -> Tensor:
        """Return the vectors of genes, shape (M, D)."""
        return self.positions[token_M]

    def pooled(self, tokens: Tokens, noise: torch.Generator | None) -> Tensor:
        """Embed cells by a mean over positions, shape (B, D); see `TokenNetwork.pooled`."""
        hidden_TD = self.hidden(tokens.ids)
        expressed_T = (tokens.ids > 0).to(hidden_TD.dtype)
        n_expressed_B = sum_of_cells(expressed_T, tokens)
        if self.expressed_only:
            sum_BD = sum_of_cells(hidden_TD * expressed_T[:, None], tokens)
            return sum_BD / n_expressed_B.clamp(min=1)[:, None]
        return sum_of_cells(hidden_TD, tokens) / len(self.positions) * (n_expressed_B > 0)[:, None]

    def objective(self, tokens: Tokens, noise: torch.Generator, *, trains: bool) -> Objective:
        """Return the cross-entropy of levels to be predicted, a mean over those of the batch, as published."""
        if trains and self.redraw:
            with torch.no_grad():
                if int(self.since_redraw) >= self.redraw:
                    self.draw_features(noise)
                self.since_redraw += 1
        chosen_J, hidden_J = self.chosen(tokens, noise)
        ids_T = tokens.ids.clone()
        ids_T[chosen_J[hidden_J]] = HIDDEN
        logit_JV = self.head(self.hidden(ids_T)[chosen_J])
        loss_J = functional.cross_entropy(logit_JV, tokens.ids[chosen_J], reduction="none")
        cell_J = tokens.cell_T[chosen_J]
        zero_B = loss_J.new_zeros(len(tokens))
        n_B = zero_B.index_add(0, cell_J, torch.ones_like(loss_J))
        per_cell_B = zero_B.index_add(0, cell_J, loss_J) / n_B.clamp(min=1)
        return Objective(loss_J.sum() / max(1, len(loss_J)), {"level_cross_entropy": per_cell_B})

    def chosen(self, tokens: Tokens, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw which positions are to be predicted, of each cell a share of its levels above 0, rounded up.

        Returns
        -------
        The positions, shape (J,), and which of them are hidden; the others are seen as they are.
        """
        place_E = torch.nonzero(tokens.ids)[:, 0]
        cell_E = tokens.cell_T[place_E]
        key_E = torch.rand(len(place_E), generator=noise, device=noise.device, dtype=torch.float64)
        order_E = torch.argsort(cell_E + key_E)
        n_B = torch.bincount(cell_E, minlength=len(tokens))
        rank_E = torch.arange(len(place_E), device=place_E.device) - (n_B.cumsum(0) - n_B)[cell_E]
        # The order within a cell is drawn; the cells stay where they are.
        chosen_J = place_E[order_E][rank_E < torch.ceil(PREDICTED * n_B.double())[cell_E]]
        return chosen_J, torch.rand(len(chosen_J), generator=noise, device=noise.device) < MASKED

    def hidden(self, ids_T: Tensor) -> Tensor:
        """Return the network's output for each position of each cell, shape (T, D)."""
        n_cells = len(ids_T) // len(self.positions)
        x_TD = self.level(ids_T) + self.positions.repeat(n_cells, 1)
        for layer in self.layers:
            x_TD = layer(x_TD, n_cells)
        out_TD: Tensor = self.norm(x_TD)
        return out_TD
