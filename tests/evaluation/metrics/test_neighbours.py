"""Neighbours are exact, each cell its own first one; overlap is what is counted by hand."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from corpuscle.evaluation.metrics.neighbours import nearest, nearest_in, neighbour_overlap


def test_they_are_those_of_the_whole_distance_matrix():
    z = np.random.default_rng(0).normal(size=(150, 5))
    found, distance = nearest(z, 12), np.sort(cdist(z, z), axis=1)[:, :12]
    np.testing.assert_allclose(found.distance_NJ, distance, atol=1e-7)
    np.testing.assert_array_equal(found.index_NJ[:, 0], np.arange(150))
    np.testing.assert_allclose(np.linalg.norm(z[:, None] - z[found.index_NJ], axis=2), distance, atol=1e-7)


def test_a_cell_is_its_own_first_neighbour_where_others_lie_on_it():
    found = nearest(np.zeros((6, 2)), 3)
    np.testing.assert_array_equal(found.index_NJ[:, 0], np.arange(6))
    assert all(len(set(row)) == 3 for row in found.index_NJ.tolist())


@pytest.mark.parametrize(("n_cells", "n", "shape"), [(1, 5, (1, 1)), (4, 90, (4, 4)), (4, 1, (4, 1))])
def test_few_cells_have_few_neighbours(n_cells, n, shape):
    assert nearest(np.arange(n_cells, dtype=float)[:, None], n).index_NJ.shape == shape


def test_the_first_are_those_of_a_search_for_fewer():
    z = np.random.default_rng(0).normal(size=(60, 3))
    np.testing.assert_array_equal(nearest(z, 20).first(7).index_NJ, nearest(z, 7).index_NJ)


def test_overlap_by_hand():
    one, other = nearest(np.array([[0.0], [1], [3], [7]]), 2), nearest(np.array([[0.0], [9], [8], [1]]), 2)
    # Nearest in one: 1, 0, 1, 2; in the other: 3, 2, 1, 0.
    assert neighbour_overlap(one, other).tolist() == [0, 0, 1, 0]


def test_the_nearest_reference_cells_are_exact():
    rng = np.random.default_rng(0)
    reference, query = rng.normal(size=(40, 3)), rng.normal(size=(9, 3))
    expected = np.argsort(cdist(query, reference), axis=1)[:, :6]
    np.testing.assert_array_equal(nearest_in(reference, query, 6), expected)
