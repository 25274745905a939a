"""Maps of embeddings: drawn where they are recorded, small, and with every cell in the CSV."""

import re

import numpy as np
import pandas as pd
import pytest

from corpuscle.report.drawing.map_figures import MAX_CATEGORIES, embedding_map
from corpuscle.report.page.render import render

CORPORA = ("Blood", "Blood+Pancreas")


def maps(n_cells=3000, n_types=14, models=("ldvae",)):
    rng = np.random.default_rng(0)
    types = rng.integers(0, n_types, n_cells)
    xy = rng.normal(0, 6, (n_types, 2))[types] + rng.normal(size=(n_cells, 2))
    table = pd.DataFrame({"x": xy[:, 0].round(2), "y": xy[:, 1].round(2)})
    table["cell_type"] = np.array([f"type <{at}>" for at in range(n_types)])[types]
    table["batch"] = rng.choice(["", "b2"], n_cells)
    tables = [table.assign(corpus=corpus, model=model, target="blood") for corpus in CORPORA for model in models]
    return pd.concat(tables, ignore_index=True)


def test_every_model_has_a_map_by_type_and_by_batch(make_run):
    folder = make_run(seeds=2)
    maps(models=("ldvae", "pca")).to_parquet(folder / "maps.parquet")
    page = render(folder).read_text()
    names = {path.stem for path in (folder / "figures").glob("map-*.svg")}
    assert names == {f"map-{model}-blood-{label}" for model in ("ldvae", "pca") for label in ("cell-type", "batch")}
    assert "type &lt;" in page
    assert "type <" not in page
    assert max(path.stat().st_size for path in (folder / "figures").glob("map-*.svg")) < 150_000
    assert len(pd.read_csv(folder / "figures" / "map-pca-blood-batch.csv")) == 2 * 3000


def test_corpora_without_maps_are_counted_and_have_no_panel(make_run):
    folder = make_run(seeds=2)
    table = maps()
    table[table["corpus"] == CORPORA[0]].to_parquet(folder / "maps.parquet")
    page = render(folder).read_text()
    assert re.search(r"1 of [2-9] corpora have one: of many, the baseline", page)
    drawn = pd.read_csv(folder / "figures" / "map-ldvae-blood-batch.csv")
    assert set(drawn["corpus"]) == {CORPORA[0]}


def test_a_run_without_maps_says_so(make_run):
    assert "No task looks at embeddings" in render(make_run(seeds=2)).read_text()


@pytest.mark.parametrize("n_types", [3, MAX_CATEGORIES + 4])
def test_frequent_types_have_colours_and_the_rest_is_counted(n_types):
    drawn = embedding_map(maps(500, n_types), "cell_type", CORPORA, "map").drawing.render()
    assert ("4 more" in drawn) == (n_types > MAX_CATEGORIES)


def test_one_cell_is_drawn():
    assert "<path" in embedding_map(maps(1, 1), "cell_type", CORPORA, "map").drawing.render()
