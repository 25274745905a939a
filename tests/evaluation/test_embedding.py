"""An embedding is made once for all tasks, of the same cells for every model."""

import numpy as np
import pytest

from corpuscle.core import components
from corpuscle.evaluation.embedding import embedded
from corpuscle.evaluation.maps import umap_table
from corpuscle.evaluation.task import Task
from placed import Placed, run


def test_tasks_share_one_embedding_and_its_neighbours(typed):
    target, _ = typed(60)
    model = Placed(np.random.default_rng(0).normal(size=(60, 3)))
    for name in ("annotation", "clustering", "latents"):
        run(components.build(Task, name, {}), model, target)
    assert model.times_asked == 1
    found = embedded(model, target, 20_000)
    assert found.among(np.ones(60, bool)) is found
    assert found.neighbours is found.neighbours
    assert embedded(model, typed(60)[0], 20_000) is not found


def test_more_cells_than_asked_for_are_drawn_the_same_for_every_model(typed):
    target, _ = typed(60)
    one, other = (embedded(Placed(np.random.default_rng(seed).normal(size=(60, 3))), target, 20) for seed in (0, 1))
    assert len(one) == 20
    assert one.note == "20 of 60 cells drawn"
    assert one.cells.cells["row"].tolist() == other.cells.cells["row"].tolist() == sorted(one.cells.cells["row"])
    scores = run(components.build(Task, "clustering", {"max_cells": 20}), Placed(np.eye(60)), target)
    assert all("20 of 60 cells drawn" in score.reason for score in scores.values())


@pytest.mark.parametrize("z", [np.zeros((60, 2)), np.full((60, 2), np.nan)])
def test_what_cannot_be_laid_out_has_no_map(typed, z):
    assert list(umap_table(Placed(z), typed(60)[0], 0).columns) == ["x", "y", "cell_type", "batch"]
    assert not len(umap_table(Placed(z), typed(60)[0], 0))


def test_a_map_keeps_groups_apart_and_hangs_on_its_seed(typed):
    target, types = typed(60)
    model = Placed(20 * (types[:, None] == np.unique(types)) + np.random.default_rng(0).normal(size=(60, 3)))
    table = umap_table(model, target, 0)
    centres = table.groupby("cell_type")[["x", "y"]].mean().to_numpy()
    spread = table.groupby("cell_type")[["x", "y"]].std().to_numpy().max()
    assert min(np.linalg.norm(centres[a] - centres[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > 2 * spread
    assert table.equals(umap_table(model, target, 0))
    assert set(table["batch"]) == {"b1", "b2"}
