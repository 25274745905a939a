"""Triplets: an anchor, a cell of its type that should lie near it, and one of another type that should lie further.

Axes in names: B cells of a batch, K latents, L labels.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

# Under the root of a squared distance, so that its slope is finite where two cells lie at one place.
EPS = 1e-6
# The code of a cell without a type: it is in no triplet.
NO_TYPE = -1
# The code of a cell whose group does not matter: it is of another group than any other cell.
NO_GROUP = -1


class Pairs(NamedTuple):
    """Which cells of a batch may stand next to each other in triplets.

    Attributes
    ----------
    positive_BB
        True where two cells are of one type and of different groups; each pair stands once, above the diagonal.
    negative_BB
        True where two cells are surely of different types.
    """

    positive_BB: Tensor
    negative_BB: Tensor


def pairs(type_B: Tensor, group_B: Tensor, ambiguous_LL: Tensor) -> Pairs:
    """Find the pairs of a batch.

    Parameters
    ----------
    type_B
        Codes of the cells' types; `NO_TYPE` for none.
    group_B
        Codes of the cells' groups, such as donors or studies; `NO_GROUP` where groups do not matter.
    ambiguous_LL
        True where two types may be one: one is an ancestor of the other. Such cells are neither positive nor negative.

    Examples
    --------
    >>> found = pairs(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0]), torch.zeros(2, 2, dtype=torch.bool))
    >>> found.positive_BB.nonzero().tolist(), found.negative_BB.nonzero().tolist()
    ([[0, 1]], [[0, 2], [1, 2], [2, 0], [2, 1]])
    """
    known_B = type_B != NO_TYPE
    same_BB = type_B[:, None] == type_B
    apart_BB = (group_B[:, None] != group_B) | (group_B[:, None] == NO_GROUP)
    code_B = type_B.clamp(min=0)
    negative_BB = ~same_BB & ~ambiguous_LL[code_B[:, None], code_B] & known_B & known_B[:, None]
    return Pairs((same_BB & apart_BB & known_B[:, None]).triu(diagonal=1), negative_BB)


def triplet_loss(z_BK: Tensor, found: Pairs, margin: float, noise: torch.Generator) -> Tensor:
    """Return the mean loss over a batch's triplets, lower is better; 0 where there are none.

    Each positive pair forms a triplet with one of its semi-hard negatives, drawn at random: cells that lie further from
    the anchor than the positive cell does, by less than the margin. By which distance, is as published: squared ones
    say which cells are semi-hard, and what is minimised, d(anchor, positive) - d(anchor, negative) + margin where that
    is above 0, is of plain ones (Heimberg et al. 2024, https://github.com/Genentech/scimilarity).

    Parameters
    ----------
    z_BK
        Embeddings on the unit sphere.
    found
        Which cells form pairs.
    margin
        By how much further a negative cell should lie.
    noise
        Draws the negatives.
    """
    square_BB = (2 - 2 * z_BK @ z_BK.T).clamp(min=0)
    with torch.no_grad():
        far_BB, order_BB = square_BB.masked_fill(~found.negative_BB, torch.inf).sort(dim=1, stable=True)
        # Of an anchor's negatives by distance, the semi-hard ones of each pair are a stretch.
        first_BB = torch.searchsorted(far_BB, square_BB, right=True)
        end_BB = torch.searchsorted(far_BB, square_BB + margin)
        n_BB = end_BB - first_BB
        drawn_BB = torch.rand(n_BB.shape, generator=noise, device=noise.device)
        place_BB = torch.minimum(first_BB + (drawn_BB * n_BB).long(), end_BB - 1).clamp(min=0)
        negative_BB = order_BB.gather(1, place_BB)
        is_triplet_BB = found.positive_BB & (n_BB > 0)
    distance_BB = (square_BB + EPS).sqrt()
    loss_BB = functional.relu(distance_BB - distance_BB.gather(1, negative_BB) + margin) * is_triplet_BB
    return loss_BB.sum() / is_triplet_BB.sum().clamp(min=1)
