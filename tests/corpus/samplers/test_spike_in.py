"""A spike-in has its share, to the cell, and says when it cannot."""

import numpy as np
import pytest

from corpuscle.core.errors import CorpusError
from corpuscle.corpus.context import Context
from corpuscle.corpus.samplers.spike_in import SpikeIn
from corpuscle.source.source import open_source

RNG = np.random.default_rng


@pytest.fixture
def pool(write, corpus_of):
    return corpus_of(open_source("blood", write("blood", 40)), open_source("k562", write("k562", 12, seed=1)))


@pytest.mark.parametrize(("share", "n_cells", "n_spiked"), [(0.1, 20, 2), (0.5, 20, 10), (0.01, 20, 0), (0.5, 5, 3)])
def test_the_share_is_rounded_to_the_nearest_cell(pool, share, n_cells, n_spiked):
    sampler = SpikeIn(spike="k562", share=share)
    chosen = pool.take(sampler.choose(pool, n_cells, RNG(0), Context()))
    assert len(chosen) == n_cells
    assert sampler.notes(chosen) == {"spiked": n_spiked}


@pytest.mark.parametrize(
    ("settings", "n_cells", "message"),
    [
        ({"spike": "k562", "share": 0.5}, 30, "50% of 30 cells from 'k562' needs 15 cells of k562, which has 12 left"),
        ({"spike": "k562", "share": 0.1}, 50, "needs 45 cells of the part's own source, which has 40 left"),
    ],
)
def test_too_few_cells_of_either_are_told(pool, settings, n_cells, message):
    with pytest.raises(CorpusError, match=message):
        SpikeIn(**settings).choose(pool, n_cells, RNG(0), Context())


def test_a_source_cannot_be_spiked_with_itself(make):
    with pytest.raises(CorpusError, match="'blood' is itself the source"):
        SpikeIn(spike="blood", share=0.5).choose(make(10), 4, RNG(0), Context())
