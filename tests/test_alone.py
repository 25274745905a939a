"""Every sampler, alteration, measure, model and task on AnnData, without a study, equals what a study does."""

import json
from dataclasses import replace
from functools import partial

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_matrix, csr_matrix

import corpuscle
from corpuscle.core import components
from corpuscle.core.errors import CorpuscleError, InputError
from corpuscle.corpus.alteration import Alteration
from corpuscle.corpus.sampler import Sampler
from corpuscle.evaluation.task import Task
from corpuscle.measures.measure import built_ins
from corpuscle.model.model import FittedModel, Model
from examples import example, small

N = 40
# Settings for cells of the types B, T and NK in one AnnData.
SAMPLERS = {"geometric_sketch": {"box_share": 0.2}}
OTHERS = ("importance", "spike_in")
ALTERATIONS = {
    "ablate": {"types": 1, "batches": 1},
    "downsample": {"types": ["T"], "keep": 0.5},
    "exclude": {"where": "cell_type == 'NK'"},
    "impute_rare": {"threshold": 12, "model": "toy:MeanProfile"},
    "pseudobulk": {"k": 2},
    "smote": {"n_neighbours": 2},
    "synthesize_from_bulk": {"n_cells": 5, "source": "adata"},
    "thin": {"keep": 0.5},
    "undersample": {"threshold": 4},
    "label_noise": {"rate": 0.3},
    "oversample": {},
}


def cells(n=N, seed=0, genes=12):
    rng = np.random.default_rng(seed)
    kind_N = np.resize(["B", "B", "T", "T", "NK"], n)
    rate_NG = np.ones((n, genes)) + 4.0 * (kind_N[:, None] == np.resize(["B", "T", "NK", ""], genes))
    obs = {"cell_type": kind_N, "batch": np.resize(["b1", "b2"], n), "donor": np.resize(["d1", "d2", "d3"], n)}
    index = [f"cell{at}-{seed}" for at in range(n)]
    counts = csr_matrix(rng.poisson(rate_NG).astype(np.float32))
    found = anndata.AnnData(counts, pd.DataFrame(obs, index), pd.DataFrame(index=[f"G{at:02}" for at in range(genes)]))
    found.obsm["X_pca"] = rng.normal(size=(n, 3)).astype(np.float32)
    found.uns["note"] = "kept"
    return found


def with_places():
    """Return cells with counts in a layer and in raw, and logarithms elsewhere."""
    found = cells()
    found.raw = found
    found.layers["counts"], found.layers["logs"] = found.X.copy(), found.X.log1p()
    return found


@pytest.mark.parametrize("name", [name for name in components.names(Sampler) if name not in OTHERS])
def test_every_sampler_chooses_of_an_anndata(name):
    settings = SAMPLERS.get(name) or example(Sampler, name)
    whole = cells()
    found = corpuscle.sample(whole, name, n_cells=10, rng=0, **settings)
    again = corpuscle.sample(whole, name, n_cells=10, rng=np.random.default_rng(0), **settings)
    assert found.n_obs == 10
    assert found.obs_names.tolist() == again.obs_names.tolist()
    assert found.obs_names.isin(whole.obs_names).all()
    assert found.obsm["X_pca"].shape == (10, 3)
    assert found.uns["note"] == "kept"
    assert not found.is_view


@pytest.mark.parametrize("name", OTHERS)
def test_a_sampler_that_needs_other_sources_is_refused(name):
    settings = {"importance": {"target": "blood"}, "spike_in": {"spike": "other", "share": 0.25}}[name]
    with pytest.raises(InputError, match="works in a study alone"):
        corpuscle.sample(cells(), name, n_cells=3, **settings)


@pytest.mark.parametrize("name", components.names(Alteration))
def test_every_alteration_alters_an_anndata(name):
    before = cells()
    found = corpuscle.alter(before, name, rng=0, **(ALTERATIONS.get(name) or example(Alteration, name)))
    account = json.loads(found.uns["corpuscle"]["account"])
    assert account[-1]["step"]["name"] == name
    assert found.n_obs == account[-1]["n_cells"]
    assert found.obs_names.is_unique
    assert found.var_names.tolist() == before.var_names.tolist()
    np.testing.assert_array_equal(before.X.toarray(), cells().X.toarray())


def test_a_cell_that_is_used_twice_has_two_rows():
    found = corpuscle.alter(cells(), "oversample")
    assert found.obs["cell_type"].value_counts().to_dict() == {"B": 16, "T": 16, "NK": 16}
    assert found.n_obs == 48
    kept = found[found.obs_names.isin(cells().obs_names)]
    np.testing.assert_array_equal(kept.X.toarray(), cells()[kept.obs_names].X.toarray())


def test_altered_cells_keep_their_genes_as_they_were_and_what_is_of_cells_that_stay():
    before = cells()
    before.var = pd.DataFrame(
        {"ensembl_id": [f"ENSG{at:011}" for at in range(12)], "length": range(12)}, before.var_names
    )
    # A gene without an id stays, too.
    before.var.iloc[3, 0] = ""
    before.obsm["places"] = pd.DataFrame({"x": range(N)}, before.obs_names)
    twice = corpuscle.alter(before, "oversample")
    pd.testing.assert_frame_equal(twice.var, before.var)
    np.testing.assert_array_equal(twice.X[:N].toarray().sum(axis=0) > 0, np.ones(12, bool))
    at = np.array([before.obs_names.get_loc("-".join(name.split("-")[:2])) for name in twice.obs_names])
    np.testing.assert_array_equal(twice.X.toarray(), before.X.toarray()[at])
    np.testing.assert_array_equal(twice.obsm["X_pca"], before.obsm["X_pca"][at])
    assert twice.obsm["places"]["x"].tolist() == at.tolist()
    # Of changed counts, places are not theirs.
    thinner = corpuscle.alter(before, "thin", keep=0.5)
    pd.testing.assert_frame_equal(thinner.var, before.var)
    assert not thinner.obsm
    before.raw = before
    of_raw = corpuscle.alter(before[:, :4].copy(), "exclude", where="cell_type == 'NK'", layer="raw")
    pd.testing.assert_frame_equal(of_raw.var, before.raw.var)


def test_altered_cells_have_their_genes_in_the_order_that_they_had():
    # By name they would come the other way round.
    before = cells()[:, ::-1].copy()
    found = corpuscle.alter(before, "exclude", where="cell_type == 'NK'")
    assert found.var_names.tolist() == before.var_names.tolist()
    np.testing.assert_array_equal(found.X.toarray(), before[found.obs_names].X.toarray())


@pytest.mark.parametrize("name", [measure.name for measure in built_ins()])
def test_every_measure_measures_an_anndata(name):
    targets = {"other": cells(seed=1)}
    found = corpuscle.measure(cells(), name, targets=targets)
    assert len(found)
    assert (found["value"].notna() | found["reason"].ne("")).all()
    assert set(found["target"]) <= {"", "other"}
    # One of its numbers alone; a measure of the same name has all of them.
    one = next((number for number in found["measure"] if number != name), name)
    pd.testing.assert_frame_equal(
        corpuscle.measure(cells(), one, targets=targets),
        found[(found["measure"] == one) | (one == name)].reset_index(drop=True),
    )


@pytest.mark.parametrize("name", [name for name in components.names(Model) if name != "external"])
def test_every_model_embeds_an_anndata_and_is_read_again(name, tmp_path):
    whole = cells()
    fitted = corpuscle.fit(whole, small(name), rng=3)
    assert repr(fitted) == f"Fitted({name}: 12 genes, fitted on 40 cells)"
    assert fitted.embed(whole) is whole
    z = whole.obsm[f"X_{name}"]
    assert z.shape[0] == N
    assert z.dtype == np.float32
    fitted.save(tmp_path / "model")
    again = corpuscle.Fitted.load(tmp_path / "model").embed(cells(), key_added="z").obsm["z"]
    np.testing.assert_array_equal(z, again)
    # The genes are found by their names: in another order, with others next to them, in another layout.
    shuffled = whole[:, ::-1].copy()
    shuffled.layers["counts"] = csc_matrix(shuffled.X)
    shuffled.X = np.log1p(shuffled.X.toarray())
    np.testing.assert_array_equal(fitted.embed(shuffled, layer="counts").obsm[f"X_{name}"], z)


def test_a_model_without_steps_is_that_of_a_study(write, tmp_path):
    path = write("blood", 30)
    study = corpuscle.Study.parse(
        f"""
        name = "one"
        seeds = 1
        sources.blood = {{ path = {str(path)!r} }}
        corpora = [{{ name = "All", parts = [{{ source = "blood", fraction = 1.0 }}] }}]
        models = [{{ name = "pca", n_components = 3 }}]
        """
    )
    corpus = corpuscle.prepare(study).corpora["All", 0]
    ours = corpuscle.fit(anndata.read_h5ad(path), "pca", n_components=3)
    theirs = study.models[0].model.fit(corpus, 0)
    np.testing.assert_array_equal(ours.fitted.embed(corpus), theirs.embed(corpus))


@pytest.mark.parametrize("name", components.names(Task))
def test_every_task_is_asked_of_a_model_and_of_an_embedding(name):
    settings, task = example(Task, name), components.find(Task, name)
    scores = corpuscle.evaluate(cells(seed=1), name, embedding="X_pca", **settings)
    assert len(scores)
    assert (scores["value"].notna() | scores["reason"].ne("")).all()
    if task.needs is FittedModel:
        fitted = corpuscle.fit(cells(), "pca", n_components=3)
        found = corpuscle.evaluate(cells(seed=1), name, model=fitted, **settings)
        assert set(found.columns) == set(scores.columns)


def test_scores_of_an_embedding_are_those_of_the_model_that_made_it():
    fitted, other = corpuscle.fit(cells(), "pca", n_components=3), cells(seed=1)
    of_model = corpuscle.evaluate(other, "annotation", model=fitted)
    of_places = corpuscle.evaluate(fitted.embed(other), "annotation", embedding="X_pca")
    pd.testing.assert_frame_equal(of_model, of_places)


def test_cells_that_the_model_was_fitted_on_are_warned_of():
    fitted = corpuscle.fit(cells(), "pca", n_components=3)
    with pytest.warns(UserWarning, match="40 of 40 cells have names of cells that the model was fitted on"):
        corpuscle.evaluate(cells(), "annotation", model=fitted)
    # Asked in place, there is nothing to warn of.
    corpuscle.evaluate(cells(), "clustering", model=fitted)


def test_labels_may_have_other_names_and_cell_types_are_written():
    named = cells()
    named.obs = named.obs.rename(columns={"cell_type": "louvain"})
    labels = {"cell_type": "louvain"}
    assert corpuscle.sample(named, "label_balanced", n_cells=9, labels=labels).obs["louvain"].value_counts().min() == 3
    fitted = corpuscle.fit(named, "logistic_regression", labels=labels)
    found = fitted.annotate(cells(seed=1))
    assert found.obs["predicted_cell_type"].cat.categories.tolist() == ["B", "NK", "T"]
    assert found.obs["predicted_cell_type_probability"].between(1 / 3, 1).all()
    with pytest.raises(CorpuscleError, match="the model pca knows no cell types"):
        corpuscle.fit(named, "pca", n_components=2).annotate(named)
    shares = corpuscle.fit(named, "ldvae", n_hidden=8, budget={"steps": 3}).expected(named)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    with pytest.raises(CorpuscleError, match="does not reconstruct"):
        corpuscle.fit(named, "hvg", n_genes=3).expected(named)


def test_a_backed_anndata_is_read_in_place(tmp_path):
    cells().write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    found = corpuscle.sample(backed, "label_balanced", n_cells=9)
    assert not found.isbacked
    assert found.obs_names.tolist() == corpuscle.sample(cells(), "label_balanced", n_cells=9).obs_names.tolist()
    pd.testing.assert_frame_equal(corpuscle.measure(backed, "depth"), corpuscle.measure(cells(), "depth"))
    backed.file.close()


@pytest.mark.parametrize("layer", [None, "X", "raw", "counts", "layers/counts"])
def test_a_layer_is_named_as_at_the_command_line_or_by_itself(layer):
    assert corpuscle.sample(with_places(), n_cells=3, layer=layer).n_obs == 3


def test_a_label_that_a_setting_names_may_have_another_name():
    named = cells()
    named.obs["stage of life"] = named.obs["batch"]
    labels = {"stage": "stage of life"}
    assert corpuscle.sample(named, "label_balanced", n_cells=8, by="stage", labels=labels).n_obs == 8
    kept = corpuscle.alter(named, "exclude", where="stage == 'b1'", labels=labels)
    assert set(kept.obs["batch"]) == {"b2"}


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, bool])
def test_dense_counts_of_any_precision_are_read(dtype):
    precise, other = cells(), cells()
    precise.X = (precise.X.toarray() > 0).astype(np.float32)
    other.X = precise.X.astype(dtype)
    assert corpuscle.sample(other, n_cells=5).X.dtype == dtype
    pd.testing.assert_frame_equal(corpuscle.measure(other, "depth"), corpuscle.measure(precise, "depth"))
    # Of 0 and 1, a copy is not recognised for sure: that they are read is what is asked here.
    assert len(corpuscle.overlap(other, precise).shares) == 2


def test_sparse_counts_of_half_precision_are_read():
    half = cells()
    half.X.data = half.X.data.astype(np.float16)
    pd.testing.assert_frame_equal(corpuscle.measure(half, "depth"), corpuscle.measure(cells(), "depth"))


@pytest.mark.parametrize("dtype", [object, str, complex])
def test_what_is_no_numbers_is_refused(dtype):
    other = cells()
    other.X = other.X.toarray().astype(dtype)
    with pytest.raises(InputError, match=r"X holds values of the type .*; expected numbers"):
        corpuscle.sample(other, n_cells=5)


def test_a_seed_and_a_new_generator_of_it_give_the_same_model_and_numbers():
    # Not a study's model of that seed: a study has named generators.
    settings = {"n_hidden": 4, "n_latent": 2, "budget": {"steps": 2}}
    models = [corpuscle.fit(cells(), "ldvae", rng=rng, **settings) for rng in (7, np.random.default_rng(7))]
    one, two = (model.embed(cells(seed=1)).obsm["X_ldvae"] for model in models)
    np.testing.assert_array_equal(one, two)
    measured = [corpuscle.measure(cells(), "vendi", rng=rng) for rng in (7, np.random.default_rng(7))]
    pd.testing.assert_frame_equal(*measured)


def test_genes_are_found_by_symbol_in_cells_without_ensembl_ids(tmp_path):
    both = cells()
    both.var["ensembl_id"] = [f"ENSG{at:011}" for at in range(12, 0, -1)]
    fitted = corpuscle.fit(both, "pca", n_components=3)
    fitted.save(tmp_path / "model")
    z = fitted.embed(both).obsm["X_pca"]
    for model in (fitted, corpuscle.Fitted.load(tmp_path / "model")):
        with pytest.warns(UserWarning, match="adata has no Ensembl ids, so its genes are matched .* by symbol"):
            np.testing.assert_array_equal(model.embed(cells()).obsm["X_pca"], z)
    # Ids alone will do, too; a model of symbols alone says what it needs.
    ids = both.copy()
    ids.var_names, ids.var = both.var["ensembl_id"], pd.DataFrame(index=both.var["ensembl_id"].to_numpy())
    np.testing.assert_array_equal(fitted.embed(ids).obsm["X_pca"], z)
    with pytest.raises(InputError, match=r"ENSG\S+, ENSG\S+, ENSG\S+, …; add their symbols as a column gene_symbol"):
        corpuscle.fit(cells(), "hvg", n_genes=3).embed(ids)
    unnamed = replace(fitted, symbols=())
    with pytest.raises(InputError, match="called G00, G01, G02, …; add their Ensembl ids as a column ensembl_id"):
        unnamed.embed(cells())


def test_cells_with_few_of_the_models_genes_are_warned_of_and_with_hardly_any_refused():
    wide = cells(genes=120)
    fitted = corpuscle.fit(wide, "pca", n_components=3)
    with pytest.warns(UserWarning, match=r"adata has 59 of the 120 genes of the model \(49.17%\)"):
        fitted.embed(wide[:, :59].copy())
    fitted.embed(wide[:, :60].copy())
    with pytest.raises(InputError, match=r"adata has 1 of the 120 genes of the model \(0.83%\), less than 1%"):
        corpuscle.evaluate(wide[:, :1].copy(), "annotation", model=fitted)


def test_raw_holds_counts_of_its_own_genes():
    whole = cells()
    whole.raw = whole
    normal = whole[:, :5].copy()
    normal.X = np.log1p(normal.X.toarray()) / 3
    assert len(corpuscle.fit(normal, "pca", layer="raw", n_components=2).genes[0]) == 12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: corpuscle.sample("cells.h5ad", n_cells=3), "expected an AnnData, got a str"),
        (lambda: corpuscle.sample(cells(), n_cells=41), "n_cells: expected 1 to 40, .* got 41"),
        (lambda: corpuscle.sample(cells(), "unifrom", n_cells=1), "did you mean 'uniform'"),
        (lambda: corpuscle.sample(cells(), n_cells=1, layer="raw"), "this AnnData has no 'raw'; Legal here: X"),
        (lambda: corpuscle.sample(cells(), n_cells=1, labels={"donor": "who"}), "the file has no such column"),
        (
            lambda: corpuscle.sample(with_places(), n_cells=1, layer="cuonts"),
            "'counts'. Legal here: X, raw, counts, logs",
        ),
        (lambda: corpuscle.calibrated_clusters("cells.h5ad"), "expected an AnnData, got a str"),
        *(
            (partial(call, given), f"labels: {message}")
            for given, message in (
                ({"celltype": "batch"}, "nothing here uses a label 'celltype'; did you mean 'cell_type'"),
                ({"": "batch"}, "nothing here uses a label ''"),
                ({"barcode": "batch"}, "nothing here uses a label 'barcode'"),
                ({5: "batch"}, "nothing here uses a label 5"),
                ({"cell_type": 5}, "cell_type: expected the name of a column of obs, a text; got 5"),
                ("batch", "expected which column holds each label, .* got 'batch'"),
                (["batch"], r"expected which column holds each label, .* got \['batch'\]"),
            )
            for call in (
                lambda given: corpuscle.sample(cells(), n_cells=3, labels=given),
                lambda given: corpuscle.alter(cells(), "thin", keep=0.5, labels=given),
                lambda given: corpuscle.measure(cells(), "richness", labels=given),
                lambda given: corpuscle.fit(cells(), "hvg", labels=given),
                lambda given: corpuscle.fit(cells(), "hvg").embed(cells(), labels=given),
                lambda given: corpuscle.evaluate(cells(), "annotation", embedding="X_pca", labels=given),
                lambda given: corpuscle.evaluate(
                    cells(seed=1), "annotation", model=corpuscle.fit(cells(), "hvg"), labels=given
                ),
            )
        ),
        (lambda: corpuscle.measure(cells(), "vendy"), "there is no measure 'vendy'; did you mean 'vendi'"),
        (lambda: corpuscle.measure(cells(), "mmd"), "compares cells with targets"),
        (lambda: corpuscle.evaluate(cells(), "annotation"), "give either model"),
        (lambda: corpuscle.evaluate(cells(), "annotation", embedding="X_pcs"), "obsm has no 'X_pcs'; did you mean"),
        (lambda: corpuscle.fit(cells(), small("pca"), n_components=2), "has its settings already: n_components"),
        (lambda: corpuscle.fit(cells(), 3), "expected the name of a model, or one that was built; got a int"),
        (lambda: corpuscle.alter(cells(), "doublets", share=0.5, batch="nope"), "there is no column 'nope'"),
        (lambda: corpuscle.evaluate(cells(), "annotation", embedding="X_pca", worst_by="nope"), "no column 'nope' in"),
        (lambda: corpuscle.calibrated_clusters(cells(), evidence="ZIP"), "evidence should be 'zip'"),
        (lambda: corpuscle.calibrated_clusters(cells(), q=2.0), "q should be less than 1"),
        (lambda: corpuscle.calibrated_clusters(cells(), n_genes=0), "n_genes should be"),
        (lambda: corpuscle.calibrated_clusters(cells(), layer="nope"), "this AnnData has no 'nope'; .*Legal here: X"),
        (lambda: corpuscle.calibrated_clusters(cells()[:0]), "nothing to cluster: 0 cells and 12 genes"),
        *(
            (partial(call, rng=rng), "rng: expected a numpy Generator, or a seed, a whole number of 0 or more")
            for rng in ("x", -1, 1.5, True, None)
            for call in (
                lambda rng: corpuscle.sample(cells(), n_cells=3, rng=rng),
                lambda rng: corpuscle.alter(cells(), "thin", keep=0.5, rng=rng),
                lambda rng: corpuscle.fit(cells(), "pca", n_components=2, rng=rng),
                lambda rng: corpuscle.measure(cells(), "richness", rng=rng),
                lambda rng: corpuscle.evaluate(cells(), "clustering", resolutions=[], embedding="X_pca", rng=rng),
                lambda rng: corpuscle.calibrated_clusters(cells(), rng=rng),
            )
        ),
        *(
            (partial(call, name), "key_added: expected a name")
            for name in ("", " ", 5, None)
            for call in (
                lambda name: corpuscle.calibrated_clusters(cells(), key_added=name),
                lambda name: corpuscle.fit(cells(), "logistic_regression").annotate(cells(), key_added=name),
            )
        ),
        (lambda: corpuscle.fit(cells(), "pca", n_components=2).embed(cells(), key_added=""), "key_added: expected a"),
        (lambda: corpuscle.calibrated_clusters(cells(), offset=True), "offset should be 0 or 1"),
        (lambda: corpuscle.calibrated_clusters(cells(), layer=5), "this AnnData has no 5; Legal here: X"),
        (lambda: corpuscle.sample(cells(), n_cells="3"), "n_cells: expected 1 to 40, .* got '3'"),
        (lambda: corpuscle.sample(cells(), n_cells=True), "n_cells: expected 1 to 40, .* got True"),
        (lambda: corpuscle.evaluate(cells(), "annotation", embedding=5), "obsm has no 5"),
        (lambda: corpuscle.evaluate(cells(), "annotation", model="pca"), "expected what corpuscle.fit returned"),
        *(
            (
                partial(corpuscle.evaluate, cells(), name, embedding="X_pca", **{key: "typo"}),
                f"{key} = 'typo' is a name",
            )
            for name in ("markers", "clustering", "latents")
            for key in ("reference_corpus", "reference_model")
            if (name, key) != ("markers", "reference_model")
        ),
        (lambda: corpuscle.Fitted.load("nowhere"), "nowhere holds no model"),
    ],
)
def test_what_cannot_be_is_one_message(call, message):
    with pytest.raises(CorpuscleError, match=message):
        call()


def test_normalised_numbers_are_refused_with_the_layer_that_has_counts():
    normal = cells()
    normal.layers["counts"] = normal.X.copy()
    normal.X = np.log1p(normal.X.toarray() / 7)
    with pytest.raises(InputError, match='say where the raw counts are: layer = "counts"'):
        corpuscle.fit(normal, "pca")


def test_a_model_is_not_saved_over_something(tmp_path):
    fitted = corpuscle.fit(cells(), "pca", n_components=2)
    (tmp_path / "note").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        fitted.save(tmp_path)
    with pytest.raises(InputError, match="none of the 12 genes, such as G00, G01, G02"):
        other = cells()
        other.var_names = [f"H{at}" for at in range(12)]
        fitted.embed(other)
