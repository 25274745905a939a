"""Score tables: models and ways side by side, few files, and remarks where a reader sees them."""

import numpy as np
import pandas as pd

from corpuscle.report.page.render import render
from corpuscle.report.sections.heatmaps import Layout, sheets
from corpuscle.statistics.comparisons import summarise

CORPORA = ("Blood", "Blood+Pancreas")
DONORS = ("patient 101", "patient 1015")


def annotated(folder, *, models=("ldvae", "pca"), ways=("5 nearest", "15 nearest", "whole, focal"), reason=""):
    """Make the made-up run one of annotation: each model half as good as the one before, each way a tenth better."""
    scores = pd.read_parquet(folder / "scores.parquet")
    scores = scores[(scores["task"] == "reconstruction") & (scores["metric"] == "r2_log")]
    tables = [
        scores.assign(
            model=model, task="annotation", metric="macro_f1", title="Macro-F1", way=way, headline=j == 0,
            reason=reason, value=(scores["value"] / 2**i * (1 + j / 10)).clip(upper=1.0),
        )
        for i, model in enumerate(models)
        for j, way in enumerate(ways)
    ]  # fmt: skip
    found = pd.concat(tables, ignore_index=True)
    found.to_parquet(folder / "scores.parquet")
    return found


def test_models_stand_side_by_side_with_their_own_means(make_run):
    folder = make_run(seeds=2)
    assert "side by side" not in render(folder).read_text()
    annotated(folder)
    assert "Macro-F1, 5 nearest, annotation · models side by side" in render(folder).read_text()
    table = pd.read_csv(folder / "figures" / "heatmap-models-annotation-macro-f1.csv").set_index(["corpus", "target"])
    means = table.groupby("model")["mean"].get_group("ldvae"), table.groupby("model")["mean"].get_group("pca")
    pd.testing.assert_series_equal(means[0] / 2, means[1])
    effects = {path.stem for path in (folder / "figures").glob("effects-*.svg")}
    assert effects == {"effects-ldvae-annotation-macro-f1", "effects-pca-annotation-macro-f1"}


def test_the_answer_compares_models_and_ways_at_their_best(make_run):
    folder = make_run(seeds=2, corpora=CORPORA)
    found = annotated(folder)
    page = render(folder).read_text()
    blood = found[(found["unit"] == "all") & (found["target"] == "blood")]
    mean = blood.groupby(["model", "way", "corpus"])["value"].mean()
    plain = {model: mean[model, "5 nearest"] for model in ("ldvae", "pca")}
    tie = {"Blood": "Blood+Pancreas", "Blood+Pancreas": "Blood"}
    shown = [(model, of.max(), of.idxmax(), tie[of.idxmax()]) for model, of in plain.items()]
    said = [
        (f"{model} {mean:.3f} ({best}, tied with {other})", f"{model} {mean:.3f} ({best})")
        for model, mean, best, other in shown
    ]
    assert any(f"Each model with its best corpus: {one}, {other}." in page for one in said[0] for other in said[1])
    best = mean["ldvae", "whole, focal"]
    assert f"ldvae {best.max():.3f} ({best.idxmax()}; whole, focal" in page


def test_a_table_has_each_metric_in_every_way(make_run):
    folder = make_run(seeds=2, corpora=CORPORA, targets=("blood",))
    (sheet,) = sheets(summarise(annotated(folder), "Blood"), Layout("Blood", CORPORA, ["blood"]))
    assert [row.label for row in sheet.headline.rows] == ["ldvae", "pca"]
    (every,) = sheet.more
    assert every.ways
    assert [(row.label, row.detail.split(", ")[1]) for row in every.rows] == [
        (way, model) for model in ("ldvae", "pca") for way in ("5 nearest", "15 nearest", "whole, focal")
    ]
    # Donors are shown of the headline's way alone; the others are in the summary.
    (units,) = sheet.units
    assert units.metric == "macro_f1"
    assert [row.label for row in units.rows] == [
        "ldvae",
        "patient 101",
        "patient 1015",
        "pca",
        "patient 101",
        "patient 1015",
    ]


def test_many_metrics_make_few_files(make_run):
    folder = make_run(seeds=2, corpora=CORPORA)
    annotated(folder, models=("a", "b", "c", "d"), ways=("", *(f"Leiden {at}" for at in range(12))))
    render(folder)
    names = {path.stem for path in (folder / "figures").glob("heatmap-*.svg")}
    assert names == {f"heatmap{kind}-models-annotation-macro-f1" for kind in ("", "-ways", "-units")}


def test_a_metric_found_in_one_way_keeps_its_name(make_run):
    folder = make_run(seeds=2, corpora=CORPORA, targets=("blood",))
    found = annotated(folder, ways=("", "linear probe"))
    found.loc[found["way"] == "linear probe", ["metric", "title"]] = "accuracy"
    (sheet,) = sheets(summarise(found, "Blood"), Layout("Blood", CORPORA, ["blood"]))
    assert [heat.metric for heat in (sheet.headline, *sheet.more)] == ["macro_f1", "accuracy"]


def test_a_task_without_a_score_over_all_cells_is_shown(make_run):
    folder = make_run(seeds=2, corpora=CORPORA, targets=("blood",))
    found = annotated(folder, ways=("",))
    found = found[found["unit"] != "all"]
    (sheet,) = sheets(summarise(found, "Blood"), Layout("Blood", CORPORA, ["blood"]))
    assert [row.label for row in sheet.headline.rows][:2] == ["blood, ldvae: patient 101", "blood, ldvae: patient 1015"]
    assert not sheet.alone
    found.to_parquet(folder / "scores.parquet")
    assert "patient 1015" in render(folder).read_text()


def test_what_a_score_says_of_itself_is_a_footnote(make_run):
    folder = make_run(seeds=2)
    annotated(folder, reason="types that no reference cell has count as not found: <B>")
    page = render(folder).read_text()
    assert "count as not found: &lt;B&gt;" in page
    assert np.isfinite(pd.read_csv(folder / "scores_summary.csv")["mean"]).all()
