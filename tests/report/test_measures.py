"""The measures' section: what it shows, what it says of what is missing, and the page without scores."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from corpuscle.core.errors import FolderError
from corpuscle.report.drawing.measure_figures import Tables, glance
from corpuscle.report.page.render import render, render_description
from corpuscle.report.page.run_folder import RunFolder
from corpuscle.report.sections.measures import sections


def test_tables_have_a_row_a_measure_and_a_column_a_corpus(make_run: Callable[..., Path]) -> None:
    run = RunFolder.read(make_run())
    found = {section.title: section for section in sections(run.measures, run.corpora)}
    assert list(found) == ["Cell types", "Cells and genes", *(f"Against {target}" for target in run.targets)]
    entropy = found["Cell types"].rows[1]
    assert entropy.label == "Shannon entropy, bits"
    assert [cell.value for cell in entropy.cells[:3]] == ["3", "3.10", "3.20"]
    assert "95 % interval over donors, seed 0: 2.000 to 4.000" in entropy.cells[0].tip
    assert [row.label for row in found["Cell types"].rows] == ["Number of cell types", "Shannon entropy, bits"]
    assert entropy.meaning == "What <it> says."
    assert found[f"Against {run.targets[0]}"].rows[0].meaning == "What <it> says. Higher is better."
    vendi = found["Cells and genes"].rows[0]
    assert vendi.cells[0].spread.startswith("±0.")


def test_what_is_missing_is_told_for_whom_and_why(make_run: Callable[..., Path]) -> None:
    run = RunFolder.read(make_run())
    section = sections(run.measures, run.corpora)[-1]
    auc = next(row for row in section.rows if row.label == "Classifier's AUC")
    assert [cell.value for cell in auc.cells[:2]] == ["n/a", "0.700"]
    assert section.notes == ["Classifier's AUC of Blood: there are <too> few cells"]


def test_the_page_has_a_section_for_every_corpus_and_escapes(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    page = render(folder).read_text()
    assert 'href="#measures"' in page
    for corpus in ("Blood", "Blood+Pancreas", "Pancreas"):
        assert f"{corpus} at a glance" in page
    assert "&lt;odd&gt; Mono (200)" in page
    assert "<odd>" not in page
    assert "&lt;too&gt; few cells" in page
    assert (folder / "figures" / "measures-blood-pancreas.svg").exists()
    values = pd.read_csv(folder / "figures" / "measures-blood-pancreas.csv")
    assert set(values["what"]) == {"cells by type", "Hill profile of cell types by order", "Coverage by target"}


def test_a_run_without_measures_has_no_such_section(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    for name in ("measures", "profiles", "cell_types"):
        (folder / f"{name}.parquet").unlink()
    page = render(folder).read_text()
    assert 'id="measures"' not in page
    assert 'id="scores"' in page


def test_a_description_is_the_page_without_scores(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    whole = render(folder)
    kept = {path.name for path in (folder / "figures").iterdir()}
    shutil.copy(folder / "provenance.json", folder / "description.json")
    (folder / "scores.parquet").rename(folder / "elsewhere.parquet")
    page = render_description(folder).read_text()
    assert all(f'id="{name}"' in page for name in ("corpora", "measures", "data", "provenance"))
    assert not any(f'id="{name}"' in page for name in ("answer", "scores", "training", "genes"))
    assert "<b>3</b> <span>seeds</span>" in page
    # The figures of the run's own report stay.
    assert {path.name for path in (folder / "figures").iterdir()} == kept
    assert whole.exists()


def test_without_a_description_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"no measures\.parquet"):
        render_description(tmp_path)


def test_a_ladder_is_several_corpora(make_run: Callable[..., Path]) -> None:
    folder = make_run(corpora=("Blood 10 %", "Blood 100 %"))
    text = (folder / "study.toml").read_text().replace('name = "Blood 10 %"\nparts', 'name = "Blood"\nparts')
    (folder / "study.toml").write_text(text)
    assert RunFolder.read(folder).corpora == ["Blood 10 %", "Blood 100 %"]


def test_a_corpus_without_types_or_targets_is_drawn(make_run: Callable[..., Path]) -> None:
    run = RunFolder.read(make_run(targets=()))
    found = Tables.of(run.composition[run.composition["column"] == "tissue"], run.measures, run.profiles.iloc[:0])
    drawn = glance(found, "Blood", "stem").drawing.render()
    assert "no cell types" in drawn
    assert "no targets" in drawn


def test_rows_that_nothing_here_knows_are_shown_with_their_titles(make_run: Callable[..., Path]) -> None:
    run = RunFolder.read(make_run())
    known = run.measures.iloc[[0, 0, 0, 0]].assign(
        measure=["novelty", "novelty", "mood", "mood"],
        of=["pathways", "pathways", "components", "components"],
        size=["own", "equal", "own", "own"],
        title=["Novelty", "Novelty", "", ""],
        seed=[0, 0, 0, 1],
        value=[1.0, 2.0, float("nan"), float("nan")],
        reason=["", "", "no cells", "no cells"],
    )
    found = {section.title: section for section in sections(pd.concat([known, run.measures]), run.corpora)}
    assert list(found)[:3] == ["Cell types", "Cells and genes", "Pathways"]
    assert [row.label for row in found["Pathways"].rows] == ["Novelty, all its cells", "Novelty"]
    # Where no corpus has a value, there is no row, and the reason is there all the same.
    assert "Mood" not in [row.label for row in found["Cells and genes"].rows]
    assert found["Cells and genes"].notes == ["Mood of Blood: no cells"]


def test_measures_of_earlier_versions_are_shown_by_name(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    measures = pd.read_parquet(folder / "measures.parquet")
    measures.drop(columns=["title", "meaning", "headline"]).to_parquet(folder / "measures.parquet")
    run = RunFolder.read(folder)
    assert "Shannon bits" in [row.label for row in sections(run.measures, run.corpora)[0].rows]
