"""Attention within cells whose tokens lie one after the other: no padding, so no mask and no work on what is not there.

Axes in names: T tokens of a batch, L tokens of one cell, H heads, C channels of a head.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

# On a GPU, cells are worked on together, padded to a multiple of this; cells of one such length are one call.
BUCKET = 64

# Of queries, keys and values of one cell, (L, H, C) each, and of the cell's first and last token: what comes out.
Within = Callable[[Tensor, Tensor, Tensor, slice], Tensor]


def attend(query_THC: Tensor, key_THC: Tensor, value_THC: Tensor, lengths: Sequence[int]) -> Tensor:
    """Let the tokens of each cell attend to each other, all to all: softmax(q·k / √C)·v, shape (T, H, C).

    On a CPU each cell is one call of torch's flash attention, which takes no memory that grows with L². There is no
    dropout of attention: on a CPU it would cost that (`torch` then leaves the flash path).

    Parameters
    ----------
    query_THC, key_THC, value_THC
        What is attended with, in the order of the tokens.
    lengths
        How many tokens each cell has; T together.

    Examples
    --------
    >>> x = torch.ones(3, 1, 2)
    >>> attend(x, x, torch.tensor([1.0, 3.0, 5.0]).reshape(3, 1, 1).expand(3, 1, 2), [2, 1])[:, 0, 0]
    tensor([2., 2., 5.])
    """
    if query_THC.is_cuda:
        return _padded(query_THC, key_THC, value_THC, lengths)
    return by_cell(_whole, query_THC, key_THC, value_THC, lengths)


def by_cell(within: Within, query_THC: Tensor, key_THC: Tensor, value_THC: Tensor, lengths: Sequence[int]) -> Tensor:
    """Attend within one cell after the other.

    Parameters
    ----------
    within
        How one cell's tokens attend to each other.
    query_THC, key_THC, value_THC, lengths
        As of `attend`.
    """
    found, start = [], 0
    parts = (torch.split(part, list(lengths)) for part in (query_THC, key_THC, value_THC))
    for length, query_LHC, key_LHC, value_LHC in zip(lengths, *parts, strict=True):
        if length:
            found.append(within(query_LHC, key_LHC, value_LHC, slice(start, start + length)))
        start += length
    return torch.cat(found) if found else value_THC


def _whole(query_LHC: Tensor, key_LHC: Tensor, value_LHC: Tensor, _: slice) -> Tensor:
    query, key, value = (part.transpose(0, 1)[None] for part in (query_LHC, key_LHC, value_LHC))
    return functional.scaled_dot_product_attention(query, key, value)[0].transpose(0, 1)


def _padded(query_THC: Tensor, key_THC: Tensor, value_THC: Tensor, lengths: Sequence[int]) -> Tensor:
    """Attend in groups of cells of about the same length, padded to it, the padding masked as keys."""
    length_B = torch.tensor(lengths)
    start_B = length_B.cumsum(0) - length_B
    bucket_B = (length_B + BUCKET - 1) // BUCKET * BUCKET
    whole = torch.zeros_like(value_THC)
    for bucket in sorted(set(bucket_B.tolist())):
        if not bucket:
            continue
        cells = torch.nonzero(bucket_B == bucket)[:, 0]
        place_BL = torch.arange(bucket)
        is_token_BL = (place_BL < length_B[cells, None]).to(query_THC.device)
        place_BL = (start_B[cells, None] + place_BL).clamp(max=len(query_THC) - 1).to(query_THC.device)
        query, key, value = (part[place_BL].transpose(1, 2) for part in (query_THC, key_THC, value_THC))
        mask = None if bool((length_B[cells] == bucket).all()) else is_token_BL[:, None, None]
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
        whole = whole.index_put((place_BL[is_token_BL],), found[is_token_BL].to(whole.dtype))
    return whole
