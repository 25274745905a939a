"""Enrichment is held to the formula of Subramanian et al. 2005, stated again, and to what chance gives."""

import logging
import math

import numpy as np
import pytest
from scipy.stats import kstest
from statsmodels.stats.multitest import multipletests

from corpuscle.evaluation.metrics import enrichment
from corpuscle.evaluation.metrics.enrichment import enrichments, false_discovery_rates


def running_sum(value_G, genes):
    """ES and leading edge, gene after gene: up by a hit's share of hits' weight, down by a miss'."""
    order = np.argsort(-value_G)
    weight, hits = np.abs(value_G[genes]).sum(), set(genes.tolist())
    place, best, at = 0.0, 0.0, -1
    for position, gene in enumerate(order):
        place += abs(value_G[gene]) / weight if gene in hits else -1 / (len(order) - len(hits))
        if abs(place) > abs(best):
            best, at = place, position
    ahead = order[: at + 1] if best > 0 else order[at + 1 :][::-1]
    return best, tuple(gene for gene in ahead.tolist() if gene in hits)


@pytest.fixture(scope="module")
def value_G():
    return np.random.default_rng(0).normal(size=400)


def test_score_and_leading_edge_are_those_of_the_formula(value_G):
    rng = np.random.default_rng(1)
    sets = [rng.choice(400, size, replace=False) for size in (1, 5, 15, 40, 200, 399)]
    sets += [np.argsort(-value_G)[:6], np.argsort(value_G)[3:40:4]]
    for genes, found in zip(sets, enrichments(value_G, sets, 0), strict=True):
        es, leading = running_sum(value_G, genes)
        assert found.es == pytest.approx(es, abs=1e-6)
        assert found.leading == leading


def test_normalised_score_and_p_are_those_of_random_sets(value_G):
    rng = np.random.default_rng(2)
    genes = np.argsort(-value_G)[::9][:20]
    (found,) = enrichments(value_G, [genes], 0)
    chance = np.array([running_sum(value_G, rng.choice(400, 20, replace=False))[0] for _ in range(2000)])
    alike = np.abs(chance[np.sign(chance) == np.sign(found.es)])
    assert found.nes == pytest.approx(found.es / alike.mean(), rel=0.06)
    assert found.p == pytest.approx((alike >= abs(found.es)).mean(), abs=0.04)


def test_p_is_uniform_where_there_is_nothing(value_G):
    rng = np.random.default_rng(3)
    p = np.array([one.p for one in enrichments(value_G, [rng.choice(400, 15, replace=False) for _ in range(600)], 0)])
    assert kstest(p, "uniform").pvalue > 0.01
    assert 0.03 < (p <= 0.05).mean() < 0.075
    assert np.nanmin(false_discovery_rates(p)) > 0.05


def test_a_set_at_an_end_is_found_far_below_one_over_the_permutations(value_G):
    order = np.argsort(-value_G)
    high, low = enrichments(value_G, [order[:7], order[-7:]], 0)
    assert high.nes > 2 > -2 > low.nes
    assert 1e-20 <= min(high.p, low.p) <= max(high.p, low.p) < 1e-10
    assert (high.leading, low.leading) == (tuple(order[:7]), tuple(order[::-1][:7]))


def test_the_seed_alone_decides(value_G, monkeypatch):
    sets = [np.arange(10), np.arange(5, 50)]
    tied_G = np.round(value_G)
    once = enrichments(tied_G, sets, 5)
    monkeypatch.setenv("RAYON_NUM_THREADS", "3")
    np.random.seed(1)  # noqa: NPY002  # what gseapy might look at
    assert enrichments(tied_G, sets, 5) == once
    assert enrichments(tied_G, sets, 6) != once


@pytest.mark.parametrize("values", ["zeros", "one value", "of the set zero"])
def test_what_has_no_order_has_no_enrichment(value_G, values):
    value_G = {
        "zeros": value_G * 0,
        "one value": np.ones(400),
        "of the set zero": np.where(np.arange(400) < 9, 0, 1.0),
    }[values]
    (found,) = enrichments(value_G, [np.arange(9)], 0)
    assert math.isnan(found.nes)
    assert found.leading == ()


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_most_values_at_zero_and_any_scale_are_no_panic(value_G, scale, caplog):
    sparse_G = np.where(np.arange(400) % 20 == 0, value_G * scale, 0.0)
    found = enrichments(sparse_G, [np.arange(0, 200, 20), np.arange(1, 20)], 0)
    (plain,) = enrichments(sparse_G / scale, [np.arange(0, 200, 20)], 0)
    assert found[0][:3] == pytest.approx(plain[:3], rel=1e-6)
    assert found[0].leading == plain.leading
    assert math.isnan(found[1].nes)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_false_discovery_rates_are_benjamini_and_hochbergs():
    p = np.random.default_rng(0).uniform(size=(4, 6)) ** 3
    p[1, 2] = np.nan
    rates = false_discovery_rates(p)
    assert np.isnan(rates[1, 2])
    known = np.isfinite(p)
    np.testing.assert_allclose(rates[known], multipletests(p[known], method="fdr_bh")[1], rtol=1e-12)


def test_a_side_to_which_next_to_no_random_set_goes_has_no_p_and_no_noise(capfd):
    value_G = 10.0 ** -np.arange(300)
    found = enrichments(value_G, [np.arange(280, 300)], 0)[0]
    assert math.isnan(found.p) == math.isnan(found.nes)
    assert capfd.readouterr() == ("", "")


def test_sets_are_looked_for_in_portions(value_G, monkeypatch):
    rng = np.random.default_rng(4)
    sets = [rng.choice(400, 15, replace=False) for _ in range(5)]
    whole = enrichments(value_G, sets, 0)
    monkeypatch.setattr(enrichment, "AT_ONCE", 2)
    assert [(one.es, one.leading) for one in enrichments(value_G, sets, 0)] == [(one.es, one.leading) for one in whole]
