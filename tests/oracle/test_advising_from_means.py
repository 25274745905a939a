"""A candidate that is known by a table of means is compared with known sources that are reduced to means, too."""

from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from cells_of_types import cells_of_types
from corpuscle import advise
from corpuscle.core.errors import InputError
from corpuscle.measures.measure import built_ins
from corpuscle.oracle.advising import _candidate, _Compared, _features, _from_cells, _from_means
from corpuscle.oracle.mean_table import MeanTable
from corpuscle.oracle.outputs import outputs_of
from corpuscle.oracle.stand_ins import stand_ins
from corpuscle.oracle.workplace import Workplace, workplace

N_GENES = 60
STUDY = """
name = "means"
[quality]
min_genes = 5
[mixture]
sources = ["a", "b", "c", "d"]
n_cells = 100
mixtures = 8
held_out = 0
rounds = 0
[[models]]
name = "ldvae"
[[tasks]]
name = "reconstruction"
on = ["new", "old"]
[sources]
"""
SHARES = {"a": (0.7, 0.3, 0, 0), "b": (0, 0.6, 0.4, 0), "c": (0.1, 0.2, 0.6, 0.1), "d": (1, 0, 0, 0),
          "new": (0, 0.1, 0.1, 0.8), "old": (0.5, 0.5, 0, 0), "candidate": (0, 0.1, 0, 0.9)}  # fmt: skip
GENES = [f"GENE{at}" for at in range(N_GENES)]


def made(at: int, shares: tuple[float, ...]) -> ad.AnnData:
    profile_tg = np.random.default_rng(7).gamma(0.4, 1.0, (4, N_GENES)) + 0.01
    profile_tg /= profile_tg.sum(axis=1, keepdims=True)
    rng = np.random.default_rng(at)
    return cells_of_types(profile_tg, shares, n_cells=120, depths=(300, 600), rng=rng, name=str(at))


def means(cells: ad.AnnData, *, grouped: bool = True) -> pd.DataFrame:
    """Return what a paper would publish of some cells."""
    scaled = pd.DataFrame(1e4 * cells.X / cells.X.sum(axis=1, keepdims=True), columns=cells.var_names)
    group = cells.obs["cell_type"].to_numpy() if grouped else np.full(cells.n_obs, "all")
    sizes = pd.DataFrame(pd.Series(group).value_counts()).T.set_axis(["n_cells"])
    return pd.concat([sizes, scaled.groupby(group).mean().T])


@pytest.fixture(autouse=True, scope="module")
def _quickly() -> Iterator[None]:
    """Draw few cells, and leave out the measure that takes longest, which no feature is of."""
    few = [one for one in built_ins() if one.name != "two_sample"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("corpuscle.execution.measuring.built_ins", lambda: few)
        patch.setattr("corpuscle.oracle.stand_ins.N_DRAWN", 120)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("means")
    for at, (name, shares) in enumerate(SHARES.items()):
        made(at, shares).write_h5ad(place / f"{name}.h5ad")
    sources = [f'{name} = {{ path = "{name}.h5ad" }}' for name in SHARES if name != "candidate"]
    (place / "study.toml").write_text(STUDY + "\n".join(sources))
    return place


@pytest.fixture(scope="module")
def place(folder: Path) -> Iterator[Workplace]:
    options: dict[str, None] = dict.fromkeys(("store", "cluster", "listener"))
    with workplace(folder / "study.toml", folder / "out", workers=0, **options) as found:
        yield found


def features(place: Workplace, compared: _Compared) -> pd.DataFrame:
    """Return what the candidate and known sources are predicted from, by source and output; nothing is trained."""
    measures = place.measure("candidate", _candidate(place.stages, compared))
    found = _features(compared, outputs_of(place.stages.mixing.study), measures)
    return found.set_index(["source", "output"])


def read(table: pd.DataFrame, path: Path) -> MeanTable:
    table.to_csv(path)
    return MeanTable.read(path)


def test_features_from_means_are_near_those_from_cells(folder: Path, place: Workplace, tmp_path: Path) -> None:
    compared = _from_cells(place.stages, "new one", {"path": str(folder / "candidate.h5ad")})
    assert compared.said == ""
    cells = features(place, compared)
    table = read(means(ad.read_h5ad(folder / "candidate.h5ad")), tmp_path / "means.csv")
    compared = _from_means(place, "new one", table)
    by_group = features(place, compared)
    assert compared.said == (
        "From a summary, not from cells: means of 2 groups of cells, in 60 of the study's 60 genes; known sources were "
        "reduced to means cell type by cell type"
    )
    assert by_group.index.equals(cells.index)
    for feature in ("knn_distance", "moment_proxy", "squared_mmd"):
        assert np.corrcoef(cells[feature], by_group[feature])[0, 1] > 0.9
    # The candidate has the type that the one target is mostly of.
    proxy = by_group["moment_proxy"]
    assert proxy["new one", "r2_log on new"] > proxy["new one", "r2_log on old"]


def test_one_group_reduces_known_sources_to_one_mean_and_part_of_the_genes_is_enough(
    folder: Path, place: Workplace, tmp_path: Path
) -> None:
    table = means(ad.read_h5ad(folder / "candidate.h5ad"), grouped=False).drop(index=["n_cells", *GENES[40:]])
    pools = {name: place.plan.pools[name] for name in "abcd"}
    n_cells = {"a": 3000, "b": 1, "c": 1, "d": 1, "new one": 3000}
    found, again = (
        stand_ins(read(table, tmp_path / "means.csv"), pools, "symbol", n_cells, name="new one") for _ in range(2)
    )
    assert found.said.endswith(
        "means over all cells, in 40 of the study's 60 genes; known sources were reduced to means as a whole"
    )
    np.testing.assert_array_equal(found.candidate.X.toarray(), again.candidate.X.toarray())
    assert found.candidate.var_names.tolist() == sorted(GENES[:40])
    shared = ad.read_h5ad(folder / "a.h5ad")[:, found.known["a"].var_names].X
    for drawn, mean_g in (
        (found.candidate, table.loc[found.candidate.var_names, "all"].to_numpy()),
        (found.known["a"], (shared / shared.sum(axis=1, keepdims=True)).mean(axis=0)),
    ):
        counts = drawn.X.toarray()
        np.testing.assert_allclose(counts.sum(axis=0) / counts.sum(), mean_g / mean_g.sum(), atol=2e-3)
    # As deep as cells of the study are, in these genes.
    depths = np.concatenate([ad.read_h5ad(folder / f"{name}.h5ad")[:, GENES[:40]].X.sum(axis=1) for name in "abcd"])
    assert set(found.candidate.X.toarray().sum(axis=1)) <= set(depths)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_tables_are_read_as_they_are_published(tmp_path: Path, suffix: str) -> None:
    ids = [f"ENSG{at:011}.3" for at in range(1, 4)]
    table = pd.DataFrame(
        {"gene_symbol": ["LYZ", "MALAT1", "CD14"], "B cell": [0.5, 300.0, 1e-3], "T": [0, 280.5, 2]}, ids
    )
    path = tmp_path / f"means{suffix}"
    table.to_parquet(path) if suffix == ".parquet" else table.to_csv(path, sep="\t" if suffix == ".tsv" else ",")
    found = MeanTable.read(path)
    assert found.groups == ("B cell", "T")
    assert found.n_R is None
    assert found.names.symbols.tolist() == ["LYZ", "MALAT1", "CD14"]
    assert found.names.ensembl.tolist() == [name[:-2] for name in ids]
    np.testing.assert_array_equal(found.mean_GR, table[["B cell", "T"]])


GOOD = "gene,B,T\nn_cells,10,20\nLYZ,1,2\nMALAT1,300,280\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("300", "-300"), "MALAT1 in B is -300; expected means.*scaled values"),
        (GOOD.replace("300", ""), "MALAT1 in B is nan.*write 0"),
        (GOOD.replace("300", "inf"), "MALAT1 in B is inf"),
        (GOOD.replace("300", "<5"), "row 3: B is '<5'; expected a number"),
        (GOOD.replace("300,280", "5.7,5.6"), r"no mean is above 19.9 \(the largest is 5.7\), as in logarithms"),
        (GOOD.replace("300", "300000"), "B sums to 300,001.*counts per million: divide by 100"),
        (GOOD.replace("1,2", "1,0").replace("280", "0"), "all means of T are 0"),
        (GOOD.replace("10,20", "10,0"), "n_cells of T is 0; expected a whole number"),
        (GOOD.replace("10,20", "10,2.5"), "n_cells of T is 2.5"),
        (GOOD + "n_cells,1,1\n", "expected one row n_cells; got 2"),
        (GOOD.replace("gene,B,T", "gene,B,B"), "two columns 'B'"),
        ("gene,B\n", "a row for each gene; got"),
        ("gene,B\nn_cells,10\n", "no mean is above"),
        ("", "cannot be read"),
        ("gene,kind\nLYZ,good\n", "got 2 columns of texts, 0 of numbers"),
        ("B,T\n1,300\n2,300\n", "a column of symbols or Ensembl ids"),
    ],
    ids=["negative", "missing", "infinite", "text", "logs", "per million", "zeros", "no cells", "part of a cell",
         "twice n_cells", "twice B", "no rows", "no genes", "empty", "no numbers", "no names"],
)  # fmt: skip
def test_what_are_no_means_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "means.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        MeanTable.read(path)


def test_means_of_other_genes_are_refused(folder: Path, place: Workplace, tmp_path: Path) -> None:
    table = means(ad.read_h5ad(folder / "candidate.h5ad"))
    mouse = table.rename(index=lambda name: name if name == "n_cells" else name.capitalize())
    twice = pd.concat([table, table.loc[["GENE3"]]])
    empty = table.drop(index=GENES[30:])
    empty.loc[GENES[:30], "3"] = 0
    empty.loc["OTHER"] = 500
    for wrong, message in (
        (mouse, "the study's genes, such as GENE.* the table of means has Gene.* of the same organism"),
        (
            table.rename(index=lambda name: name if name == "n_cells" else f"X{name}"),
            "such as GENE.* the table of means has XGENE",
        ),
        (table.drop(index=GENES[5:]), "at least a tenth of the study's 60 genes; the table has 5"),
        (twice, "a row for each gene; GENE3 has 2"),
        (empty, "all means of 3 are 0 in the 30 genes"),
    ):
        found = read(wrong, tmp_path / "wrong.csv")
        with pytest.raises(InputError, match=message):
            _from_means(place, "new one", found)


def test_a_candidate_whose_name_ends_so_is_read_as_means(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "means.csv").write_text(GOOD.replace("300", "-300"))
    with pytest.raises(InputError, match="MALAT1 in B is -300"):
        advise(folder / "study.toml", tmp_path / "out", tmp_path / "means.csv")
    with pytest.raises(InputError, match=r"does not exist; expected .* a table of means"):
        advise(folder / "study.toml", tmp_path / "out", tmp_path / "none.csv")
