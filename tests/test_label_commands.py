"""`corpuscle labels`: a first table of names, which the study reads as it is."""

import pytest

from corpuscle import cli
from corpuscle.core.errors import MeasureError
from corpuscle.study.findings import Findings
from corpuscle.study.opening import open_sources
from corpuscle.study.relabelling import counts, relabel
from corpuscle.study.spec import Study

STUDY = """
name = "small"
sources = { blood = { path = "blood.h5ad" }, other = { path = "other.h5ad" } }
labels = { cell_type = "labels.csv" }
corpora = [{ name = "Other", parts = [{ source = "other", fraction = 1.0 }] }]
models = [{ name = "pca" }]
"""


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command line in this process; return exit code and all that is printed."""

    def called(*arguments):
        monkeypatch.setattr("sys.argv", ["corpuscle", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        return code, "".join(capsys.readouterr())

    return called


@pytest.fixture
def study(write, tmp_path):
    write("blood", 12, obs={"cell_type": ["CD14 Mono", "B", "[bold]x\x1b"] * 4})
    write("other", 12, seed=1, obs={"cell_type": ["CD14+ Monocyte", "b cell", "B memory-like"] * 4})
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def test_the_table_that_is_written_is_the_studys(call, study):
    code, said = call("labels", study)
    assert code == 0
    assert "Nothing was written" in said
    code, said = call("labels", study, "-o", study.parent / "labels.csv")
    assert code == 0
    assert 'cell_type = "labels.csv"' in said
    assert "left to you" in said
    assert r"[bold]x\x1b" in said
    findings = Findings(Study.read(study))
    sources, _ = relabel(findings, open_sources(findings, lambda *_: None))
    findings.stop()
    assert [*counts(sources["blood"], "cell_type")] == ["B cell", "CD14-positive monocyte", "[bold]x\x1b"]
    assert [*counts(sources["other"], "cell_type")] == ["B cell", "B memory-like", "CD14-positive monocyte"]


def test_a_table_is_replaced_only_when_that_is_asked_for_and_decisions_stay(call, study):
    table = study.parent / "labels.csv"
    table.write_text("from,to\nCD14 Mono,My monocyte\n")
    code, said = call("labels", study, "-o", table)
    assert code == 2
    assert "labels.csv is there already; give another file, or --overwrite" in said
    assert table.read_text() == "from,to\nCD14 Mono,My monocyte\n"
    assert call("labels", study, "-o", table, "--overwrite")[0] == 0
    assert "CD14 Mono,My monocyte,1.0,given" in table.read_text()


@pytest.mark.parametrize(("arguments", "said"), [
    (["-o", "labels.txt"], "expected a file that ends in .csv"),
    (["--label", "cell_typ"], "no source has a label 'cell_typ'; did you mean 'cell_type'?"),
])  # fmt: skip
def test_what_cannot_be_done_is_said(call, study, arguments, said):
    code, printed = call("labels", study, *arguments)
    assert code == 2
    assert said in printed


def test_without_the_ontology_it_does_less_and_says_so(call, study, monkeypatch):
    def gone():
        raise MeasureError("the Cell Ontology needs cellxgene-ontology-guide: pip install 'corpuscle[ontology]'")

    monkeypatch.setattr("corpuscle.study.proposing.installed_ontology", gone)
    code, said = call("labels", study, "-o", study.parent / "labels.csv")
    assert code == 0
    assert "pip install 'corpuscle[ontology]'; without it, only common names" in said
    assert "CD14 Mono,CD14-positive monocyte,0.8,common name" in (study.parent / "labels.csv").read_text()
