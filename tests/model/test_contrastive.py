"""The contrastive model: which cells form triplets, what they cost, and that types end up apart."""

from itertools import product
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from scipy.sparse import csr_matrix
from torch import nn

from corpuscle.core.errors import ModelError
from corpuscle.corpus.cell_ontology import Match, related
from corpuscle.corpus.expression.variable_genes import cp10k
from corpuscle.evaluation.metrics.neighbours import nearest
from corpuscle.model.architectures.contrastive import Contrastive, taught
from corpuscle.model.data.batches import Batch, CellCovariates, CountTable, Rows
from corpuscle.model.data.dense import DenseBatch
from corpuscle.model.data.memory import VARIABLE
from corpuscle.model.nn.contrastive_network import ContrastiveNetwork
from corpuscle.model.nn.triplets import NO_GROUP, NO_TYPE, pairs, triplet_loss

SMALL = {"widths": [16, 12], "n_latent": 6, "batch_size": 32, "budget": {"steps": 5}}


def noise(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_network(n_genes: int, n_types: int = 3, **changes) -> ContrastiveNetwork:
    settings = {"dropout": 0.0, "input_dropout": 0.0, "margin": 0.05, "triplet_weight": 0.3}
    ambiguous = torch.zeros(n_types, n_types, dtype=torch.bool)
    return ContrastiveNetwork(n_genes, [16, 12], 6, init=noise(0), **settings | {"ambiguous_LL": ambiguous} | changes)


def batch_of(counts, types, groups):
    codes = np.stack([types, groups], axis=1).astype(np.int64)
    covariates = CellCovariates(covariates=Rows(codes, np.arange(len(codes))))
    return CountTable(csr_matrix(counts), covariates).batch(slice(None))


def brute_force(z, types, groups, ambiguous, margin):
    """By each pair, the losses of all its semi-hard triplets, one of which is drawn."""
    found = {}
    for one, other in product(range(len(z)), repeat=2):
        if one >= other or types[one] != types[other] or types[one] == NO_TYPE:
            continue
        if groups[one] == groups[other] != NO_GROUP:
            continue
        near, losses = np.sum((z[one] - z[other]) ** 2), []
        for third in range(len(z)):
            if types[third] in (NO_TYPE, types[one]) or ambiguous[types[one], types[third]]:
                continue
            far = np.sum((z[one] - z[third]) ** 2)
            if near < far < near + margin:
                losses.append(max(0.0, np.sqrt(near) - np.sqrt(far) + margin))
        if losses:
            found[one, other] = losses
    return found


@pytest.mark.parametrize("grouped", [True, False], ids=["across groups", "any two"])
def test_the_loss_is_the_mean_over_pairs_of_one_semi_hard_triplet_each(grouped):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(24, 3))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    types = rng.integers(-1, 4, 24)
    groups = rng.integers(0, 3, 24) if grouped else np.full(24, NO_GROUP)
    ambiguous = np.zeros((4, 4), bool)
    ambiguous[0, 1] = ambiguous[1, 0] = True
    expected = brute_force(z, types, groups, ambiguous, margin=0.4)
    assert len(expected) > 10
    found = pairs(*map(torch.from_numpy, (types, groups, ambiguous)))
    losses = [float(triplet_loss(torch.from_numpy(z), found, 0.4, noise(seed))) for seed in range(400)]
    means = [np.mean(each) for each in expected.values()]
    assert np.mean(losses) == pytest.approx(np.mean(means), abs=0.002)
    lowest, highest = (np.mean([pick(each) for each in expected.values()]) for pick in (min, max))
    assert lowest - 1e-5 <= min(losses) < max(losses) <= highest + 1e-5
    # Where each pair has one semi-hard negative, nothing is drawn.
    few = pairs(*(torch.tensor(each) for each in ([0, 0, 1], [0, 1, 0])), torch.zeros(2, 2, dtype=torch.bool))
    corner = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.3], [1.0, -0.35]]))
    known = brute_force(corner.numpy(), [0, 0, 1], [0, 1, 0], np.zeros((2, 2), bool), 0.1)[0, 1]
    assert float(triplet_loss(corner, few, 0.1, noise())) == pytest.approx(known[0], abs=1e-4)


def test_without_triplets_the_loss_is_0_and_cells_at_one_place_have_a_finite_slope():
    z = nn.functional.normalize(torch.ones(4, 3)).requires_grad_()
    found = pairs(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]), torch.zeros(2, 2, dtype=torch.bool))
    loss = triplet_loss(z, found, 0.05, noise())
    loss.backward()
    assert loss == 0
    assert z.grad.isfinite().all()


class Tree:
    """Five terms: a cell is a T cell or a B cell, and a T cell is a CD4 or a CD8 T cell."""

    above: ClassVar = {
        "CL:1": [],
        "CL:2": ["CL:1"],
        "CL:3": ["CL:1"],
        "CL:4": ["CL:2", "CL:1"],
        "CL:5": ["CL:2", "CL:1"],
    }
    names: ClassVar = {"cell": "CL:1", "T": "CL:2", "B": "CL:3", "CD4 T": "CL:4", "CD8 T": "CL:5", "Tc": "CL:5"}

    def find(self, label):
        term = self.names.get(label, label)
        return Match(term, label, "id" if label == term else "name") if term in self.above else None

    def ancestors(self, term):
        return {term: 0} | {above: at + 1 for at, above in enumerate(self.above[term])}

    def parents(self, term):
        return self.above[term][:1]


def test_an_ancestor_is_ambiguous_and_a_sibling_is_a_negative():
    expected = {
        ("CL:1", "CL:2"), ("CL:1", "CL:3"), ("CL:1", "CL:4"), ("CL:1", "CL:5"), ("CL:2", "CL:4"), ("CL:2", "CL:5"),
    }  # fmt: skip
    found_TT = related([*Tree.above, ""], Tree())
    assert (found_TT == found_TT.T).all()
    terms = list(Tree.above)
    assert {(terms[i], terms[j]) for i, j in np.argwhere(np.triu(found_TT))} == expected
    labels = np.array(["T", "CD4 T", "CD8 T", "Tc", "B", "other", ""])
    found = taught(labels, None, Tree(), {"other": "CL:3"})
    assert found.terms == {
        "B": "CL:3", "CD4 T": "CL:4", "CD8 T": "CL:5", "T": "CL:2", "Tc": "CL:5", "other": "CL:3",
    }  # fmt: skip
    assert found.n_unlabelled == 1
    codes = torch.from_numpy(found.rows.table_RX[found.rows.row_N])
    both = pairs(codes[:, 0], codes[:, 1], torch.from_numpy(found.ambiguous_LL))
    assert both.positive_BB.nonzero().tolist() == [[2, 3], [4, 5]]  # two names of one term
    assert both.negative_BB[0].nonzero().ravel().tolist() == [4, 5]  # of T, only B
    assert both.negative_BB[1].nonzero().ravel().tolist() == [2, 3, 4, 5]  # of CD4 T, CD8 T too
    assert not both.negative_BB[6].any()
    assert not both.negative_BB[:, 6].any()
    # Without an ontology each label is a type of its own.
    flat = taught(labels, None, None, {})
    assert len(flat.ambiguous_LL) == 6
    assert not flat.ambiguous_LL.any()


def test_what_is_in_the_cell_ontology_is_found_by_name_and_terms():
    pytest.importorskip("cellxgene_ontology_guide")
    model = Contrastive(ontology=True, terms={"mono": "CL:0000576"})
    assert model.identity() != Contrastive(ontology=True).identity()
    with pytest.raises(ValidationError, match="the Cell Ontology has no current term 'CL:9999999', given for 'mono'"):
        Contrastive(ontology=True, terms={"mono": "CL:9999999"})
    with pytest.raises(ValidationError, match="terms are for ontology = true"):
        Contrastive(terms={"mono": "CL:0000576"})


def test_layers_and_parameters_are_the_published_ones():
    network = Contrastive()._network(19_331, np.zeros((0, 0), bool), noise())
    encoder = [network.first, network.encoder, network.encoder_norms]
    assert sum(parameter.numel() for part in encoder for parameter in part.parameters()) == 22_032_515
    assert [tuple(layer.weight.shape) for layer in network.decoder] == [
        (1024, 128), (1024, 1024), (1024, 1024), (19_331, 1024),
    ]  # fmt: skip


def dense(layers, norms):
    """Torch's own layers with the same weights, in training mode."""
    made = []
    for at, layer in enumerate(layers):
        made.append(layer)
        if at < len(norms):
            norm, prelu = nn.BatchNorm1d(len(norms[at].scale)), nn.PReLU()
            norm.weight.data, norm.bias.data = norms[at].scale.data, norms[at].shift.data
            prelu.weight.data = norms[at].slope.data
            made += [norm, prelu]
    return nn.Sequential(*made)


def test_the_loss_is_that_of_a_dense_network(draw_counts):
    counts, network = draw_counts(40, 20), small_network(20)
    batch = batch_of(counts, np.arange(40) % 3, np.arange(40) % 2)
    first = nn.Linear(20, 16)
    first.weight.data, first.bias.data = network.first.weight.data.T.contiguous(), network.first.bias.data
    encoder = dense([first, *network.encoder], network.encoder_norms)
    decoder = dense(network.decoder, network.decoder_norms)
    logged = torch.from_numpy(cp10k(csr_matrix(counts)).log1p().toarray()).float()
    z = nn.functional.normalize(encoder(logged))
    error = (decoder(z) - logged).square().mean()
    triplet = triplet_loss(z, pairs(*batch.covariates.T, network.ambiguous_LL), 0.05, noise())
    assert triplet > 0
    loss, terms = network.loss(batch, noise())
    torch.testing.assert_close(loss, 0.3 * triplet + 0.7 * error, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms["triplet_loss"], 40 * triplet.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms["squared_error"], 40 * error.detach(), rtol=1e-4, atol=1e-4)
    # What it runs is what evaluation normalises by.
    network.eval()
    encoder.eval()
    torch.testing.assert_close(network.encode(batch), nn.functional.normalize(encoder(logged)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network.encode(batch).norm(dim=1), torch.ones(40))
    as_dense = DenseBatch(torch.from_numpy(counts), None, batch.covariates)
    for name, value in network.score(batch, noise()).items():
        torch.testing.assert_close(network.score(as_dense, noise())[name], value, rtol=1e-4, atol=1e-4)


def test_genes_are_dropped_at_the_input_and_scaled_up(draw_counts):
    network, batch = small_network(20, input_dropout=0.4), batch_of(draw_counts(10, 20), np.zeros(10), np.zeros(10))
    dropped = torch.stack([network._first(batch, noise(seed)) for seed in range(300)])
    torch.testing.assert_close(dropped.mean(0), network._first(batch, None), rtol=0.1, atol=0.35)
    assert dropped.std(0).min() > 0
    with torch.no_grad():
        one, again = network.encode(batch, noise()), network.encode(batch, noise())
    torch.testing.assert_close(one, again)


def test_genes_that_were_not_measured_are_not_scored(draw_counts):
    network, batch = small_network(20).eval(), batch_of(draw_counts(8, 20), np.zeros(8), np.zeros(8))
    unmeasured = torch.zeros(8, 20, dtype=torch.bool)
    lacking = Batch(*batch[:4], unmeasured, batch.covariates)
    torch.testing.assert_close(network.score(lacking, noise()), network.score(batch, noise()))
    unmeasured[:, 5:] = True
    network.decoder[-1].bias.data[5:] = 1e3
    assert network.score(lacking, noise())["squared_error"].max() < 1e3
    assert network.score(batch, noise())["squared_error"].min() > 1e3


@pytest.fixture
def typed(make_corpus):
    """240 cells of three types and two donors: donors differ in more genes than types do."""
    rng = np.random.default_rng(0)
    type_N, donor_N = rng.integers(0, 3, 240), rng.integers(0, 2, 240)
    rate = np.ones((240, 40))
    rate[:, :12] *= np.where(np.arange(12) // 4 == type_N[:, None], 4.0, 1.0)
    rate[:, 12:] *= np.where((np.arange(28) % 2 == 0) == (donor_N[:, None] == 0), 4.0, 1.0)
    corpus = make_corpus(rng.poisson(2 * rate).astype(np.float32))
    corpus.cells["cell_type"] = np.array(["B", "NK", "T"])[type_N]
    corpus.cells["donor"] = np.array(["d0", "d1"])[donor_N]
    return corpus


def purity(z, label_N):
    """Share of the 10 nearest of a cell that are of its type."""
    return float((label_N[nearest(z, 11).index_NJ[:, 1:]] == label_N[:, None]).mean())


def test_training_brings_types_of_different_donors_together(typed):
    train, other = typed.take(np.arange(160)), typed.take(np.arange(160, 240))
    how = SMALL | {"batch_size": 80, "margin": 0.2, "dropout": 0.0, "input_dropout": 0.0}
    found, curves = {}, []
    for weight, steps in ((0.9, 60), (0.0, 60), (0.9, 0)):
        fitted = Contrastive(**how | {"triplet_weight": weight, "budget": {"steps": steps}}).fit(train, 0)
        found[weight, steps] = purity(fitted.embed(other), other.labels("cell_type"))
        curves.append(fitted.history)
    # What distinguishes cells most is their donor, and nothing but triplets says that it does not matter.
    assert found[0.9, 60] > 0.9
    assert max(found[0.0, 60], found[0.9, 0]) < 0.6
    curve = curves[0].pivot(index="step", columns="quantity", values="value")
    assert set(curve) == {
        f"{name}_{part}" for name in ("contrastive_loss", "triplet_loss", "squared_error")
        for part in ("train", "validation")
    }  # fmt: skip
    whole = 0.9 * curve["triplet_loss_train"] + 0.1 * curve["squared_error_train"]
    np.testing.assert_allclose(curve["contrastive_loss_train"], whole, rtol=1e-4)


def test_from_disk_it_is_the_same(typed, monkeypatch):
    fitted = Contrastive(**SMALL).fit(typed, 0)
    monkeypatch.setenv(VARIABLE, "0")
    np.testing.assert_array_equal(Contrastive(**SMALL).fit(typed, 0).embed(typed), fitted.embed(typed))


REFUSED = {
    "types of one donor each": ({"donor": "cell_type"}, {}, "two cells of one type of different 'donor'.*across"),
    "no such column": ({}, {"across": "study"}, "of different 'study', and a cell that is surely"),
    "one type": ({"cell_type": "B"}, {}, "cells of at least two types, and of corpus 'toy' all labelled cells are 'B'"),
    "no type": ({"cell_type": None}, {}, "none of its cells has a label"),
    "single cells": ({"cell_type": "barcode"}, {"across": ""}, "two cells of one type, .*; draw more cells of each"),
}


@pytest.mark.parametrize(("columns", "settings", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_corpus_without_triplets_is_one_clear_error_before_training(typed, columns, settings, message):
    for column, value in columns.items():
        typed.cells[column] = typed.cells[value] if value in typed.cells else pd.Series([value] * 240, dtype=object)
    model = Contrastive(**SMALL, **settings)
    for refuse in (lambda: model.check_corpus(typed), lambda: model.fit(typed, 0)):
        with pytest.raises(ModelError, match=message):
            refuse()


def test_cells_without_a_type_are_counted_and_only_reconstructed(typed):
    typed.cells.loc[:9, "cell_type"] = None
    fitted = Contrastive(**SMALL).fit(typed, 0)
    assert fitted.n_unlabelled == 10
    assert np.isfinite(fitted.embed(typed)).all()


def test_terms_that_labels_were_taken_for_are_kept_with_the_model(typed, tmp_path, caplog):
    pytest.importorskip("cellxgene_ontology_guide")
    typed.cells["cell_type"] = typed.cells["cell_type"].replace("NK", "odd")
    model = Contrastive(**SMALL, ontology=True)
    fitted = model.fit(typed, 0)
    assert fitted.terms == {"B": "CL:0000236", "T": "CL:0000084", "odd": ""}
    assert "types of no known term, each a type of its own: odd" in caplog.text
    fitted.save(tmp_path)
    assert model.load_fitted(tmp_path).terms == fitted.terms
    # A cell and its kind are no triplet.
    typed.cells["cell_type"] = np.where(typed.cells["cell_type"] == "T", "T cell", "CD4-positive, alpha-beta T cell")
    with pytest.raises(ModelError, match="a cell that is surely of another type"):
        model.check_corpus(typed)
    Contrastive(**SMALL).check_corpus(typed)
