"""Attention within cells: one way for the CPU, one for a GPU, the same numbers."""

import pytest
import torch

from corpuscle.model.nn import attention


@pytest.mark.parametrize("lengths", [[3, 1, 5], [130, 64, 0, 65], [64, 64], [1]])
def test_cells_padded_for_a_gpu_attend_as_one_by_one(lengths):
    noise = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(sum(lengths), 2, 8, generator=noise, requires_grad=True) for _ in range(3))
    found = [way(query, key, value, lengths) for way in (attention.attend, attention._padded)]
    assert torch.allclose(*found, atol=1e-6)
    weight = torch.randn(found[0].shape, generator=noise)
    slopes = [torch.autograd.grad((one * weight).sum(), (query, key, value)) for one in found]
    for one, other in zip(*slopes, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
