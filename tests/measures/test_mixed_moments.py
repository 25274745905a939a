"""The moment proxy of a mixture, from its sources' moments, is that of a corpus which has them in these shares."""

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import corpuscle
from corpuscle.alone.cells import corpora_of
from corpuscle.core.errors import InputError
from corpuscle.corpus.cell_ontology import CellTypes
from corpuscle.measures.built_ins.moment_proxy import MomentProxy
from corpuscle.measures.common_space import CommonSpace, basis_of, common_space
from corpuscle.measures.measure import measure_corpus
from corpuscle.measures.view import StudyView, View

N_GENES = 60


def cells(seed: int, n: int, shares: tuple[float, ...]) -> ad.AnnData:
    profile_tg = np.random.default_rng(99).gamma(0.5, 1.0, (len(shares), N_GENES))
    profile_tg /= profile_tg.sum(axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    depth_n = rng.integers(200, 600, n)[:, None]
    counts_ng = rng.poisson(profile_tg[rng.choice(len(shares), n, p=shares)] * depth_n).astype(np.float32)
    names = [f"c{at}" for at in range(n)]
    return ad.AnnData(counts_ng, pd.DataFrame(index=names), pd.DataFrame(index=[f"G{g}" for g in range(N_GENES)]))


SOURCES = {"a": cells(0, 80, (0.8, 0.2, 0)), "b": cells(1, 50, (0, 0.5, 0.5)), "c": cells(2, 40, (0.1, 0.1, 0.8))}
TARGETS = {"new": cells(3, 70, (0.2, 0.2, 0.6)), "other": cells(4, 30, (0.9, 0.1, 0))}


def measured(uses: dict[str, int]) -> list[float]:
    """Return the measure itself, of a corpus that uses every cell of each source so many times."""
    found = corpora_of(SOURCES | TARGETS, layer=None, labels=None)
    readers = {name: reader for one in found.values() for name, reader in one.readers.items()}
    found = {name: replace(one, readers=readers) for name, one in found.items()}
    tables = [found[name].cells.assign(times=times) for name, times in uses.items()]
    corpus = replace(found["a"], cells=pd.concat(tables, ignore_index=True))

    def space() -> CommonSpace:
        return common_space(basis_of({name: found[name] for name in SOURCES}))

    view = StudyView(30, CellTypes(None, {}), {name: found[name] for name in TARGETS}, space)  # type: ignore[arg-type]
    rows, _ = measure_corpus([MomentProxy()], View(corpus, 0, view))
    return [float(rows.loc[rows["target"] == name, "value"].item()) for name in TARGETS]


@pytest.mark.parametrize(
    "uses", [{"a": 1, "b": 0, "c": 0}, {"a": 1, "b": 2, "c": 5}, {"a": 0, "b": 4, "c": 1}], ids=str
)
def test_a_mixtures_forecast_is_the_measure_of_a_corpus_of_these_shares(uses: dict[str, int]) -> None:
    forecast = corpuscle.moment_forecast(SOURCES, TARGETS)
    found = forecast.predict({name: times * SOURCES[name].n_obs for name, times in uses.items()}, normalise=True)
    assert found.iloc[0].tolist() == pytest.approx(measured(uses), abs=2e-5)


def test_mixtures_are_tables_arrays_or_named_weights() -> None:
    forecast = corpuscle.moment_forecast(SOURCES, TARGETS, n_genes=30, n_latent=5)
    table = pd.DataFrame({"c": [50.0, 0.0], "a": [25.0, 100.0], "b": [25.0, 0.0]}, index=["mixed", "only a"])
    found = forecast.predict(table)
    assert (found.index.tolist(), found.columns.tolist()) == (["mixed", "only a"], ["new", "other"])
    np.testing.assert_array_equal(found, forecast.predict([[0.25, 0.25, 0.5], [1, 0, 0]]))
    np.testing.assert_array_equal(found.iloc[[1]], forecast.predict({"a": 1.0}))
    assert found.loc["mixed", "new"] > found.loc["only a", "new"]
    assert found.loc["mixed", "other"] < found.loc["only a", "other"]


def test_what_is_no_mixture_is_refused() -> None:
    forecast = corpuscle.moment_forecast(SOURCES, TARGETS)
    for weights, message in (
        ([[0.5, 0.5]], r"a column for each of 3 sources.*got an array of shape \(1, 2\)"),
        (pd.DataFrame([[1.0, 0.0, 0.0, 0.0]], columns=["a", "b", "c", "a"]), "two of one name"),
        ({"a": 1.0, "d": 0.0}, "there is no source 'd'"),
        (pd.DataFrame({"a": [1.0], "b": [0.0]}), "there is none for 'c'"),
        ([0.5, 0.1, 0.1], "sum to 0.7"),
        ([1.5, -0.5, 0.0], "expected a number from 0 on"),
    ):
        with pytest.raises(InputError, match=message):
            forecast.predict(weights)
    with pytest.raises(InputError, match="two sources or more"):
        corpuscle.moment_forecast({"a": SOURCES["a"]}, TARGETS)
    with pytest.raises(InputError, match="more variable genes than its 10 latents"):
        corpuscle.moment_forecast(SOURCES, TARGETS, n_genes=10)
    still = TARGETS["new"].copy()
    still.X = np.ones_like(still.X)
    with pytest.raises(InputError, match="no cell of the target 'new' varies"):
        corpuscle.moment_forecast(SOURCES, {"new": still})
