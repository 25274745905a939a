"""What every foundation model keeps to; behind each tick of the documentation's table of them there is a test."""

import re

import numpy as np
import pytest
import torch

from corpuscle.core import components
from corpuscle.core.errors import ModelError, StudyError
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.model import Model
from corpuscle.model.training.fine_tuning import FineTuning, fine_tune
from corpuscle.study.preparation import prepare
from corpuscle.study.spec import Study
from support import ABILITIES, ROOT, foundation_models, functions, proof, table

MARKS = "<!-- made by tests/helpers/support.py -->"
each = pytest.mark.parametrize("name", foundation_models())


def built(name: str, **how):
    return components.build(Model, name, {"budget": {"steps": 2}, "batch_size": 8, **how})


@pytest.fixture
def cells(make) -> Corpus:
    corpus = make(24)
    corpus.cells["cell_type"] = np.where(np.arange(24) % 2, "a", "b")
    corpus.cells["batch"] = np.where(np.arange(24) % 3, "one", "two")
    return corpus


@each
def test_it_is_trained_from_scratch(name, cells):
    before, after = built(name, budget={"steps": 0}).fit(cells, 0), built(name, learning_rate=1e-2).fit(cells, 0)
    assert before.history.empty
    assert {quantity.rpartition("_")[2] for quantity in after.history["quantity"]} == {"train", "validation"}
    assert np.isfinite(after.history["value"]).all()
    assert np.abs(after.embed(cells) - before.embed(cells)).max() > 1e-4


@each
def test_a_cell_is_the_same_alone_in_company_and_in_any_order(name, make):
    cells = make(30)
    fitted = built(name).fit(cells, 0)
    whole = fitted.embed(cells)
    order = np.random.default_rng(0).permutation(30)
    np.testing.assert_allclose(fitted.embed(cells.take(order)), whole[order], atol=1e-5)
    for cell in (0, 7, 29):
        np.testing.assert_allclose(fitted.embed(cells.take(np.array([cell])))[0], whole[cell], atol=1e-5)


@each
@pytest.mark.parametrize("weights", ["frozen", "last", "whole"])
def test_it_is_taught_types(name, weights, cells):
    fitted = built(name).fit(cells, 0)
    way = FineTuning(weights=weights, budget={"steps": 3}, batch_size=8)
    tuned = fine_tune(fitted, cells, cells.labels("cell_type"), way, seed=0)
    found = tuned.label_probabilities(cells)
    assert found.shape == (24, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


@each
def test_an_adversary_is_trained_against(name, cells):
    plain, hiding = (
        built(name, learning_rate=1e-2, **how).fit(cells, 0) for how in ({}, {"adversary": {"label": "batch"}})
    )
    assert "batch_share_train" in set(hiding.history["quantity"])
    assert not np.allclose(plain.embed(cells), hiding.embed(cells), atol=1e-5)


@each
def test_it_is_trained_and_embeds_in_16_bits(name, cells):
    wide, narrow = (built(name, precision=precision).fit(cells, 0).embed(cells) for precision in ("float32", "bf16"))
    moved = np.linalg.norm(wide - narrow) / np.linalg.norm(wide)
    assert 0 < moved < 0.1


@each
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_it_embeds_as_on_a_cpu(name, cells, monkeypatch):
    fitted = built(name).fit(cells, 0)
    there = fitted.embed(cells)
    monkeypatch.setenv("CORPUSCLE_DEVICE", "cpu")
    np.testing.assert_allclose(fitted.embed(cells), there, atol=1e-3)


@each
def test_a_corpus_without_counts_is_one_clear_error(name, make):
    with pytest.raises(ModelError, match="has no counts"):
        built(name).fit(make(np.zeros((12, 30), np.int32)), 0)


@each
def test_genes_have_vectors(name, cells):
    fitted = built(name).fit(cells, 0)
    found = fitted.gene_embeddings()
    assert set(found.index) <= set(fitted.genes)
    assert len(found) > 0
    assert np.isfinite(found.to_numpy()).all()


@pytest.mark.parametrize("name", ["geneformer", "scgpt"])
def test_attention_of_a_cell_sums_to_1(name, cells):
    fitted = built(name).fit(cells, 0)
    names, found = fitted.attention(cells.take(np.array([3])), layer=-1)
    assert found.shape[1:] == (len(names), len(names))
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-4)


def test_each_tick_of_the_table_has_its_test():
    for name in foundation_models():
        for ability in ABILITIES:
            if (found := proof(name, ability)) is not None:
                assert found[1] in functions(found[0]), f"{name}, {ability}: there is no test {found[1]} in {found[0]}"


def test_the_documentation_has_the_table():
    text = (ROOT / "docs" / "foundation.md").read_text(encoding="utf-8")
    assert text.count(MARKS) == 2
    assert text.split(MARKS)[1].strip() == table(), "write the output of support.table() between the marks"


HELD = """
name = "held"
sources = {{ blood = {{ path = "blood.h5ad" }} }}
holdout = {{ blood = {{ by = "cell", share = 0.3 }} }}
corpora = [{{ name = "A", parts = [{{ source = "blood", n_cells = 5 }}] }}]
models = [{{ name = "{name}", {model} }}]
tasks = [{{ name = "annotation", on = ["blood"], fine_tune = ["whole"], training = {{ {training} }} }}]
"""


@each
def test_what_does_not_fit_in_memory_is_said_before_anything_runs_with_what_would(name, write, tmp_path, monkeypatch):
    """To embed, to train, and to fine-tune."""
    write("blood", 12)
    embedding, training = built(name, budget={"steps": 0}).memory(30), built(name, batch_size=8000).memory(30)
    assert embedding < training == built(name).memory_to_fine_tune(30, 8000, None)
    assert built(name).memory_to_fine_tune(30, 8000, 1) < training, "of the last block, less is kept"
    steps, many, would = "budget = { steps = 2 }", "batch_size = 8000", "; accumulate = 2 would do$"
    model, tuning = (
        rf"^models\[0\]: model '{name}' would take",
        r"^tasks\[0\].training: to fine-tune .* \(whole\) on 8,000",
    )
    for limit, settings, taught, expected in (
        (embedding - 1, "budget = { steps = 0 }", "", [f"{model} about .* GB of memory on 30 genes"]),
        (training - 1, f"{many}, {steps}", "", [f"{model} .*{would}"]),
        (training - 1, steps, many, [f"{tuning} .*{would}"]),
        (training, steps, many, []),
    ):
        monkeypatch.setattr("corpuscle.study.drawing.machine_memory", lambda limit=limit: limit)
        given = Study.parse(HELD.format(name=name, model=settings, training=taught), tmp_path)
        found = []
        try:
            prepare(given)
        except StudyError as error:
            found = [f"{problem.place}: {problem.message}" for problem in error.problems]
        assert len(found) == len(expected)
        assert all(re.search(*pair) for pair in zip(expected, found, strict=True)), found
