"""What all networks over tokens share: they are fed counts, and write them as tokens themselves.

Axes in names: B cells of a batch, T tokens of all of them, D width of the network, K latents.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from corpuscle.model.data.batches import Batch
from corpuscle.model.data.dense import DenseBatch
from corpuscle.model.tokenisers.tokens import Tokeniser, Tokens
from corpuscle.model.training.budget import Moment

# So many tokens are embedded at once: enough for matrix products at full speed, few enough to stay small.
PASS_TOKENS = 8192


class Objective(NamedTuple):
    """What is minimised of some cells.

    Attributes
    ----------
    loss
        A number.
    terms
        Named parts of it for each cell, lower is better, shape (B,); patience looks at the first.
    """

    loss: Tensor
    terms: Mapping[str, Tensor]


class TokenNetwork(nn.Module):
    """A network over tokens; it can be fitted by `corpuscle.model.training.loop.train`.

    Attributes
    ----------
    tokeniser
        What writes the cells that it is given.
    n_latent
        K, the width of a cell's embedding.
    """

    # The loop gives it counts on the host, whatever device it is on: tokens are written there.
    takes_sparse = True
    tokeniser: Tokeniser
    n_latent: int

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    @abstractmethod
    def pooled(self, tokens: Tokens, noise: torch.Generator | None) -> Tensor:
        """Embed cells, shape (B, K), with dropout by a generator (None: none); can be differentiated.

        A cell without tokens of its own genes is at 0.
        """

    @abstractmethod
    def objective(self, tokens: Tokens, noise: torch.Generator, *, trains: bool) -> Objective:
        """Return what is minimised of some cells; what is hidden from the network is drawn from `noise`.

        Parameters
        ----------
        tokens
            The cells.
        noise
            Draws what is hidden, and dropout where it `trains`.
        trains
            Whether for a step of the training, or to follow it.
        """

    @abstractmethod
    def gene_vectors(self, token_M: Tensor) -> Tensor:
        """Return the vectors that the network enters genes by, shape (M, D), before it has seen any cell.

        Parameters
        ----------
        token_M
            The genes' tokens, where the weights are.
        """

    @property
    def blocks(self) -> list[nn.Module]:
        """Its blocks from first to last, for trainings in which only the last learn."""
        return []

    def loss(self, batch: Batch | DenseBatch, noise: torch.Generator, at: Moment) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch and its terms, summed over cells; see `loop.Trainable`."""
        found = self.objective(self._tokens(batch, noise), noise, trains=True)
        return found.loss, {name: term.detach().sum() for name, term in found.terms.items()}

    @torch.no_grad()
    def score(self, batch: Batch | DenseBatch, noise: torch.Generator) -> dict[str, Tensor]:
        """Return the terms of each cell, shape (B,)."""
        return dict(self.objective(self._tokens(batch, noise), noise, trains=False).terms)

    @torch.inference_mode()
    def embed(self, batch: Batch) -> Tensor:
        """Embed cells, shape (B, K), on the CPU; in evaluation mode."""
        found = [self.pooled(part, None).float().cpu() for part in self.passes(batch)]
        return torch.cat(found) if found else torch.empty(0, self.n_latent)

    def encode(self, batch: Batch, noise: torch.Generator | None) -> Tensor:
        """Embed cells, shape (B, K), so that it can be differentiated; see `TrainableEncoder`."""
        if noise is None:
            return torch.cat([self.pooled(part, None) for part in self.passes(batch)])
        return self.pooled(self._tokens(batch, noise), noise)

    def passes(self, batch: Batch) -> Iterator[Tokens]:
        """Yield cells as tokens, as many as are worked on at once."""
        for part in self.tokeniser.tokens(batch).parts(PASS_TOKENS):
            yield part.to(self.device)

    def _tokens(self, batch: Batch | DenseBatch, noise: torch.Generator) -> Tokens:
        assert isinstance(batch, Batch), "it takes sparse batches"
        seed = int(torch.randint(2**62, (), generator=noise, device=noise.device))
        return self.tokeniser.tokens(batch, seed).to(self.device)


@runtime_checkable
class Attends(Protocol):
    """A network that can say how much its tokens attend to each other."""

    def attention(self, tokens: Tokens, layer: int) -> list[Tensor]:
        """Return it for each cell, shape (heads, L, L); `layer` is 0 for the last block, -1 for the one before it."""
        ...


def mean_of_cells(hidden_TD: Tensor, tokens: Tokens) -> Tensor:
    """Return the mean of each cell's tokens, shape (B, D); 0 where there are none.

    Examples
    --------
    >>> tokens = Tokens(torch.tensor([0, 2, 2]), torch.tensor([7, 5]), torch.ones(2))
    >>> mean_of_cells(torch.tensor([[1.0], [3.0]]), tokens).tolist()
    [[2.0], [0.0]]
    """
    return sum_of_cells(hidden_TD, tokens) / tokens.starts.diff().clamp(min=1).to(hidden_TD.device)[:, None]


def sum_of_cells(hidden_TD: Tensor, tokens: Tokens) -> Tensor:
    """Return the sum of each cell's tokens, shape (B, D)."""
    whole = hidden_TD.new_zeros(len(tokens), *hidden_TD.shape[1:])
    return whole.index_add(0, tokens.cell_T, hidden_TD)


def first_of_cells(hidden_TD: Tensor, tokens: Tokens) -> Tensor:
    """Return each cell's first token, shape (B, D); 0 where there is none."""
    has_token_B = tokens.starts.diff().to(hidden_TD.device) > 0
    first_BD = hidden_TD.new_zeros(len(tokens), *hidden_TD.shape[1:])
    return first_BD.masked_scatter(
        has_token_B[:, None], hidden_TD[tokens.starts[:-1].to(hidden_TD.device)[has_token_B]]
    )
