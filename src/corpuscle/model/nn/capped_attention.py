"""Attention of each gene to those before it, drawn to genes with many counts, with bounded scores: TranscriptFormer's.

Exact, in stretches of queries: torch's fused kernels cannot bound a score after something is added to it. Axes in
names: T tokens of a batch, L tokens of one cell, Q queries of a stretch, H heads, C channels of a head.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from corpuscle.model.nn.attention import by_cell
from corpuscle.model.nn.recomputed import recomputed

# Queries that are worked on at once: their scores take H × QUERIES × L numbers, in place of H × L².
QUERIES = 256


def attend_to_earlier(  # noqa: PLR0913
    query_THC: Tensor,
    key_THC: Tensor,
    value_THC: Tensor,
    lengths: Sequence[int],
    *,
    pull_T: Tensor,
    cap: float,
    pulls_itself: bool,
) -> Tensor:
    """Let the tokens of each cell attend to themselves and those before: softmax(cap·tanh((q·k/√C + pull)/cap))·v.

    Parameters
    ----------
    query_THC, key_THC, value_THC, lengths
        As of `corpuscle.model.nn.attention.attend`.
    pull_T
        What is added to the score of a token as a key.
    cap
        What no score exceeds.
    pulls_itself
        Whether it is also added to the token's score with itself.

    Examples
    --------
    >>> x = torch.ones(3, 1, 2)
    >>> value = torch.tensor([1.0, 3.0, 5.0]).reshape(3, 1, 1)
    >>> pull = torch.tensor([0.0, 100.0, 0.0])
    >>> found = attend_to_earlier(x, x, value, [3], pull_T=pull, cap=10.0, pulls_itself=False)
    >>> [round(float(each), 2) for each in found.flatten()]
    [1.0, 2.0, 3.0]
    """

    def within(query_LHC: Tensor, key_LHC: Tensor, value_LHC: Tensor, cell: slice) -> Tensor:
        query_HLC, key_HLC, value_HLC = (part.transpose(0, 1) for part in (query_LHC, key_LHC, value_LHC))
        pull_L = pull_T[cell]

        def stretch(query_HQC: Tensor, key_HLC: Tensor, value_HLC: Tensor) -> Tensor:
            n_queries, n_keys = query_HQC.shape[1], key_HLC.shape[1]
            place_L = torch.arange(n_keys, device=pull_L.device)
            # The last query is the last key.
            after_QL = place_L - place_L[n_keys - n_queries :, None]
            pull_QL = pull_L[:n_keys].expand(n_queries, -1)
            if not pulls_itself:
                pull_QL = pull_QL.masked_fill(after_QL == 0, 0.0)
            score_HQL = query_HQC @ key_HLC.mT * query_HQC.shape[-1] ** -0.5 + pull_QL
            score_HQL = (cap * torch.tanh(score_HQL / cap)).masked_fill(after_QL > 0, -torch.inf)
            return score_HQL.softmax(-1) @ value_HLC

        length = len(query_LHC)
        if length <= QUERIES:
            return stretch(query_HLC, key_HLC, value_HLC).transpose(0, 1)
        found = []
        for start in range(0, length, QUERIES):
            end = min(start + QUERIES, length)
            found.append(recomputed(stretch, query_HLC[:, start:end], key_HLC[:, :end], value_HLC[:, :end]))
        return torch.cat(found, 1).transpose(0, 1)

    return by_cell(within, query_THC, key_THC, value_THC, lengths)
