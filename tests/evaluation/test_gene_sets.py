"""Gene sets are read, found among a study's genes, and found again in the latents that stand for them."""

import math
import os

import numpy as np
import pandas as pd
import pytest

import corpuscle
from corpuscle.cli import main
from corpuscle.core.errors import ComponentError, StudyError
from corpuscle.evaluation.gene_sets import GeneSet, cell_cycle, find_sets, read_gmt, why_none
from corpuscle.evaluation.metrics import enrichment
from corpuscle.evaluation.tasks.gene_sets import GeneSets
from corpuscle.source.genes import GeneSpace
from corpuscle.study.preparation import prepare
from placed import Placed
from toy import MeanProfile

N_GENES = 150


def space(ids, symbols=None):
    return GeneSpace(tuple(ids), tuple(symbols or ids), {"s": np.arange(len(ids), dtype=np.int32)})


def gmt(folder, *lines, name="sets.gmt"):
    path = folder / name
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return path


@pytest.fixture
def path(tmp_path):
    """Three sets of the genes G0, G1, …: an early, a late one and one that is too small."""
    sets = {"early: <b>": range(20), "late": range(120, 150), "few": range(3)}
    return gmt(tmp_path, *("\t".join([name, "http://x", *(f"G{at}" for at in of)]) for name, of in sets.items()))


class Loaded(Placed):
    """A model with the loadings that a test says."""

    def __init__(self, **loadings):
        super().__init__(np.zeros((12, 1)))
        self.table = pd.DataFrame(loadings, index=[f"G{at}" for at in range(N_GENES)])

    def loadings(self):
        return self.table


def asked(model, target, seed=0, **settings):
    """Ask a model, its loadings in the order of the names G0, G1, …."""
    if isinstance(model, Loaded):
        model.table = model.table.loc[list(target.space.ids)]
    scores = GeneSets(**settings).run(model, target, target, np.random.default_rng(seed))
    return {(score.metric, score.unit, score.way): score for score in scores}


def test_a_gmt_file_has_a_set_a_line(tmp_path):
    path = gmt(tmp_path, "\ufeffone\thttp://x\tLYZ\tCD14,1.0\tLYZ\t\t", "", "two words\t\tENSG00000090382.7\r")
    assert read_gmt(path) == (
        GeneSet("one", (("LYZ",), ("CD14",))),
        GeneSet("two words", (("ENSG00000090382",),)),
    )


BROKEN = {
    "empty": ([""], "it is empty"),
    "blank": (["\n \n"], "it is empty"),
    "compressed": ([b"\x1f\x8b\x08\x00\x00"], "unpack it"),
    "binary": ([b"\x00\x01\tx\ty"], "unpack it"),
    "a set without genes": (["one\tx\tLYZ", "two\tx\t\t"], "line 2: expected a set's name"),
    "no tabs": (["one, LYZ, CD14"], "line 1: expected a set's name"),
    "no name": (["\tx\tLYZ"], "line 1: expected a set's name"),
    "a name twice": (["one\tx\tLYZ", "one\tx\tCD14"], "line 2: the set 'one' stands twice"),
    "a long name": (["n" * 201 + "\tx\tLYZ"], "201 letters"),
    "very many sets": ([f"{at}\tx\tLYZ" for at in range(20_001)], "20,001 sets"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_gmt_file_is_one_message(tmp_path, kind):
    lines, message = BROKEN[kind]
    path = gmt(tmp_path, *lines)
    with pytest.raises(ComponentError, match="cannot be read as a GMT file") as raised:
        [*GeneSets(sets=str(path)).check(space(["LYZ"]))]
    assert message in str(raised.value)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "huge"])
def test_what_is_no_file_is_one_message(tmp_path, monkeypatch, kind):
    path = tmp_path / "sets.gmt"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "huge":
        monkeypatch.setattr("corpuscle.core.paths.MOST_TEXT", 10)
        path.write_text("one\tx\tLYZ\tCD14")
    with pytest.raises(ComponentError, match="cannot be read as a GMT file"):
        read_gmt(path)


def test_genes_are_found_by_symbol_by_ensembl_id_and_by_an_earlier_symbol():
    here = space(["ENSG1", "ENSG00000189159", "G3", "ENSG4"], ["LYZ", "HN1", "G3", "LYZ"])
    one, of_old, *_ = find_sets([GeneSet("a", (("LYZ",), ("G3",), ("NOPE",))), cell_cycle()[1]], here)
    # Two genes have the symbol.
    assert (one.n_genes, one.n_found, one.genes.tolist()) == (3, 2, [0, 2, 3])
    assert of_old.n_found == 1
    assert of_old.genes.tolist() == [1]


def test_the_packaged_sets_are_whole():
    names = [name for one in cell_cycle() for gene in one.genes for name in gene]
    assert len(set(names)) == len(names)
    assert all(name[1].startswith("ENSG000") for one in cell_cycle() for name in one.genes)
    assert {"PCNA", "MKI67", "MLF1IP", "FAM64A", "HN1"} <= set(names)


@pytest.mark.parametrize(
    ("ids", "cause"),
    [
        (["Pcna", "Mki67"], "another organism"),
        (["AT1G01010", "AT1G01020"], "another organism, or another kind of name"),
    ],
)
def test_sets_without_any_gene_of_the_study_are_refused_with_the_likely_cause(ids, cause):
    with pytest.raises(ComponentError, match="none of the study's genes is in any set") as raised:
        [*GeneSets().check(space(ids))]
    assert cause in str(raised.value)


def test_symbols_against_ids_are_named_as_the_cause():
    assert "Ensembl ids and the other symbols" in why_none([GeneSet("a", (("PCNA",),))], space(["ENSG00000132646"]))


def test_a_latent_that_stands_for_a_set_is_tied_to_it(make, path):
    rng = np.random.default_rng(0)
    place = np.arange(N_GENES)
    noise = rng.normal(size=(3, N_GENES))
    target = make(np.random.default_rng(1).poisson(1.0, (12, N_GENES)))
    model = Loaded(Z_0=noise[0], Z_1=noise[1] - 4 * (place >= 120), Z_2=noise[2] + 4 * (place < 20))
    found = asked(model, target, sets=str(path))
    assert found["tied_latents", "all", ""].value == pytest.approx(2 / 3)
    for latent, name, sign in (("Z_1", "late", -1), ("Z_2", "early: <b>", 1)):
        unit = (f"set={latent}: {name}", "loadings")
        assert sign * found["nes", *unit].value > 2
        assert found["enrichment_fdr", *unit].value < 1e-6
        assert found["enrichment_p", *unit].value <= found["enrichment_fdr", *unit].value
        edge = found["leading_edge", *unit]
        assert edge.value > 0.9
        # The genes are those of the set, furthest from 0 first.
        loading = model.table[latent].abs()
        genes = edge.reason.split(", ")
        assert list(loading[genes]) == sorted(loading[genes], reverse=True)
        assert {int(gene[1:]) for gene in genes} <= set(range(20) if sign > 0 else range(120, 150))
    assert found["enrichment_fdr", "set=Z_0: late", "loadings"].value > 0.05
    few = found["nes", "set=Z_2: few", "loadings"]
    assert math.isnan(few.value)
    assert "3 of the set's genes are in the ranking, fewer than 10 (min_size)" in few.reason
    assert found["set_size", "gene_set=late", ""].value == 30
    assert found["genes_ranked", "gene_set=late", "loadings"].value == 1
    assert "does not reconstruct" in found["misjudged_sets", "all", ""].reason


def test_genes_that_no_latent_loads_on_are_not_ranked(make, path):
    target = make(np.random.default_rng(1).poisson(1.0, (12, N_GENES)))
    place = np.arange(N_GENES)
    loadings = np.where(place % 2 == 0, np.random.default_rng(2).normal(size=N_GENES), 0.0)
    found = asked(Loaded(PC_0=loadings), target, sets=str(path))
    assert found["genes_ranked", "gene_set=late", "loadings"].value == 0.5
    assert "10 of the set's genes" not in found["nes", "set=PC_0: early: <b>", "loadings"].reason


def test_genes_without_a_count_in_the_target_are_not_ranked(make, path):
    rng = np.random.default_rng(1)
    counts = rng.poisson(1.0, (12, N_GENES)) + 1
    train = make(counts, "a")
    counts[:, 130:] = 0
    target, loadings = make(counts, "b"), rng.normal(size=N_GENES)
    for model, way in ((Loaded(Z_0=loadings), "loadings"), (MeanProfile().fit(train, 0), "residual")):
        found = asked(model, target, sets=str(path))
        assert found["genes_ranked", "gene_set=late", way].value == pytest.approx(1 / 3)
        assert found["genes_ranked", "gene_set=early: <b>", way].value == 1


def test_sets_that_a_model_expects_too_little_of_are_misjudged(make, path):
    rng = np.random.default_rng(0)
    counts = rng.poisson(20.0, (24, N_GENES))
    more = counts[12:].copy()
    more[:, :20] *= 6
    train, target = make(counts[:12], "a"), make(more, "b")
    found = asked(MeanProfile().fit(train, 0), target, sets=str(path))
    assert found["nes", "set=residual: early: <b>", "residual"].value > 1.5
    assert found["misjudged_sets", "all", ""].value in (0.5, 1.0)
    assert "1 of 3 sets could not be asked about" in found["misjudged_sets", "all", ""].reason
    assert "no loadings" in found["tied_latents", "all", ""].reason


def test_no_set_among_the_genes_of_a_target_is_nan_with_the_cause(make):
    found = asked(MeanProfile().fit(make(12), 0), make(12))
    assert "no gene of the sets is known" in found["misjudged_sets", "all", ""].reason


def test_a_file_with_other_sets_makes_other_results_wherever_it_is(tmp_path, path):
    before = GeneSets(sets=str(path)).identity()
    elsewhere = tmp_path / "elsewhere.gmt"
    elsewhere.write_bytes(path.read_bytes())
    assert GeneSets(sets=str(elsewhere)).identity() == before
    path.write_text("other\tx\tG1")
    assert GeneSets(sets=str(path)).identity() != before


def test_a_task_that_needs_gseapy_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(enrichment, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'corpuscle\[gene-sets\]'"):
        GeneSets()


def test_sizes_that_no_set_has_are_refused():
    with pytest.raises(ValueError, match="min_size should be at most max_size"):
        GeneSets(min_size=20, max_size=10)


STUDY = """
name = "sets"
seeds = 1
models = [{ name = "pca", n_components = 3 }]
corpora = [{ name = "All", parts = [{ source = "blood", n_cells = 40 }] }]
tasks = [{ name = "gene_sets", sets = "sets.gmt", on = ["blood"] }]
[sources]
blood = { path = "blood.h5ad" }
[holdout]
blood = { by = "cell", share = 0.4 }
"""


def test_a_study_finds_its_sets_next_to_it_and_warns_of_small_ones(tmp_path, write, path):
    write("blood", np.random.default_rng(1).poisson(1.0, (80, N_GENES)) + 1)
    plan = prepare(corpuscle.Study.parse(STUDY, tmp_path))
    assert any("1 of 3 gene sets have fewer than 10 genes" in str(warning) for warning in plan.warnings)
    path.write_text("one\tx\tPCNA")
    with pytest.raises(StudyError, match="none of the study's genes is in any set"):
        prepare(corpuscle.Study.parse(STUDY, tmp_path))


def test_a_malformed_file_ends_a_check_with_2(tmp_path, write, monkeypatch, capsys):
    write("blood", np.random.default_rng(1).poisson(1.0, (80, N_GENES)) + 1)
    (tmp_path / "study.toml").write_text(STUDY)
    gmt(tmp_path, "one\tx\t")
    monkeypatch.setattr("sys.argv", ["corpuscle", "check", str(tmp_path / "study.toml")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = " ".join("".join(capsys.readouterr()).split())
    assert "line 1: expected a set's name" in said
    assert "Traceback" not in said
