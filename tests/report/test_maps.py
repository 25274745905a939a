"""Maps of embeddings, and models side by side: drawn where they are recorded, small, and with every cell in the CSV."""

import numpy as np
import pandas as pd
import pytest

from corpuscle.report.map_figures import MAX_CATEGORIES, embedding_map
from corpuscle.report.render import render

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


def test_a_run_without_maps_says_so(make_run):
    assert "No task looks at embeddings" in render(make_run(seeds=2)).read_text()


@pytest.mark.parametrize("n_types", [3, MAX_CATEGORIES + 4])
def test_frequent_types_have_colours_and_the_rest_is_counted(n_types):
    drawn = embedding_map(maps(500, n_types), "cell_type", CORPORA, "map").drawing.render()
    assert ("4 more" in drawn) == (n_types > MAX_CATEGORIES)


def test_one_cell_is_drawn():
    assert "<path" in embedding_map(maps(1, 1), "cell_type", CORPORA, "map").drawing.render()


def test_models_stand_side_by_side_with_their_own_means(make_run):
    folder = make_run(seeds=2)
    assert "side by side" not in render(folder).read_text()
    scores = pd.read_parquet(folder / "scores.parquet")
    scores = scores[scores["task"] == "reconstruction"]
    other = scores.assign(model="pca", value=scores["value"] / 2)
    pd.concat([scores, other], ignore_index=True).to_parquet(folder / "scores.parquet")
    assert "models side by side" in render(folder).read_text()
    table = pd.read_csv(folder / "figures" / "heatmap-models-reconstruction-r2-log.csv").set_index(["corpus", "target"])
    means = table.groupby("model")["mean"].get_group("ldvae"), table.groupby("model")["mean"].get_group("pca")
    pd.testing.assert_series_equal(means[0] / 2, means[1])


def test_the_ways_in_which_a_metric_was_found_stand_side_by_side(make_run):
    folder = make_run(seeds=2)
    assert "Ways side by side" not in render(folder).read_text()
    scores = pd.read_parquet(folder / "scores.parquet")
    scores = scores[(scores["task"] == "reconstruction") & (scores["metric"] == "r2_log")]
    plain = scores.assign(metric="macro_f1", task="annotation")
    tuned = plain.assign(metric="macro_f1_whole_focal", value=plain["value"] / 2)
    pd.concat([plain, tuned], ignore_index=True).to_parquet(folder / "scores.parquet")
    page = render(folder).read_text()
    assert "Ways side by side: Macro-F1, annotation · ldvae" in page
    assert "fine-tuned, whole, focal loss" in page
    table = pd.read_csv(folder / "figures" / "heatmap-ways-ldvae-annotation-macro-f1.csv").set_index(
        ["corpus", "target"]
    )
    found = {metric: rows["mean"] for metric, rows in table.groupby("metric")}
    pd.testing.assert_series_equal(found["macro_f1"] / 2, found["macro_f1_whole_focal"])
