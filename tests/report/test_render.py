"""The report of made-up runs: complete, self-contained, escaped, deterministic, and honest about what is missing."""

import base64
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.errors import FolderError
from corpuscle.report import numbers
from corpuscle.report.page.downloads import Downloads
from corpuscle.report.page.render import render
from corpuscle.report.page.run_folder import RunFolder
from corpuscle.statistics.comparisons import summarise

MakeRun = Callable[..., Path]
SECTIONS = ["overview", "scores", "corpora", "training", "genes", "data", "provenance"]
HOSTILE = (
    "<script>alert(1)</script>",
    "a/b",
    "../../escape",
    "say \"hi\" & 'bye'",
    "=cmd|' /C calc'!A0",
    "µ Größe \x07",
)


class Page(HTMLParser):
    """What a browser would see: tags with attributes, ids, and the text outside scripts and styles."""

    VOID = frozenset({"meta", "br", "wbr", "link", "img", "input", "hr"})

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data

    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.tags if "id" in attributes]


def cells_of(page: Path) -> list[str]:
    return re.findall(r'<td class="[^"]*" style="--w[^"]*" title="[^"]*"><b>([^<]*)</b>', page.read_text("utf-8"))


def test_writes_the_page_the_summary_and_a_csv_beside_every_svg(make_run: MakeRun) -> None:
    folder = make_run()
    page = render(folder)
    assert page == folder / "report.html"
    svgs = {path.stem for path in (folder / "figures").glob("*.svg")}
    csvs = {path.stem for path in (folder / "figures").glob("*.csv")}
    assert svgs == csvs
    for kind in ("heatmap-ldvae-reconstruction-r2-log", "effects-", "composition-cell-type", "curves-ldvae-elbo",
                 "residuals-ldvae-monocytes"):  # fmt: skip
        assert any(stem.startswith(kind) for stem in svgs), kind
    for stem in svgs:
        assert len(pd.read_csv(folder / "figures" / f"{stem}.csv")) > 0
        ElementTree.parse(folder / "figures" / f"{stem}.svg")
    assert not list(folder.rglob(".*")), "temporary files are left"


def test_the_page_is_well_formed_and_has_every_section(rendered: MakeRun) -> None:
    page = Page(rendered())
    assert page.open == []
    assert [name for name in page.ids() if name in SECTIONS] == SECTIONS
    assert len(page.ids()) == len(set(page.ids()))


def test_the_page_loads_nothing(rendered: MakeRun) -> None:
    path = rendered()
    for tag, attributes in Page(path).tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "image", "use")
        assert not {"src", "srcset", "xlink:href", "background", "poster", "action"} & set(attributes)
    source = path.read_text(encoding="utf-8")
    assert "<script src" not in source
    assert "@import" not in source
    assert not re.search(r"url\((?!#)", source)
    assert "default-src 'none'" in source


def test_alone_in_a_mail_the_page_is_whole(rendered: MakeRun, tmp_path: Path) -> None:
    written = rendered()
    folder, moved = written.parent, written.rename(tmp_path / "alone.html")
    page = Page(moved)
    links = [attributes for tag, attributes in page.tags if tag == "a"]
    assert not any("src" in attributes for _, attributes in page.tags)
    carried = {}
    for link in links:
        href = str(link["href"])
        if href.startswith("#"):
            assert href[1:] in page.ids()
        elif href.startswith("data:text/csv;base64,"):
            carried[link["download"]] = base64.b64decode(href.partition(",")[2])
        else:
            assert href.startswith("https://doi.org/"), href
    assert carried["scores_summary.csv"] == (folder / "scores_summary.csv").read_bytes()
    for stem in ("overview", "composition-cell-type", "heatmap-ldvae-reconstruction-r2-log"):
        assert carried[f"{stem}.csv"] == (folder / "figures" / f"{stem}.csv").read_bytes()


def test_what_is_too_large_for_a_mail_is_named_and_left_in_the_folder() -> None:
    embed = Downloads(most=10)
    assert embed("12345", most=4) == ""
    assert embed("12345678") != ""
    assert embed("123") == "", "the page's room is used up"
    assert embed("12") != ""


def test_the_numbers_of_the_page_are_those_of_the_summary(rendered: MakeRun) -> None:
    page = rendered()
    folder, cells = page.parent, cells_of(page)
    scores = pd.read_parquet(folder / "scores.parquet")
    scores = scores[~scores["unit"].str.startswith("gene=")]
    expected = summarise(scores, "Blood")
    written = pd.read_csv(folder / "scores_summary.csv", keep_default_na=True)
    np.testing.assert_allclose(written["mean"], expected["mean"])
    np.testing.assert_allclose(written["fc_low"], expected["fc_low"])
    shown = expected[(expected["unit"] == "all") & (expected["metric"] == "r2_log")]
    table = shown.pivot_table(index="target", columns="corpus", values="mean", sort=False)
    assert cells[: table.size] == [numbers.number(value) for value in table.to_numpy().ravel()]


def test_the_answer_names_what_the_corpora_did(rendered: MakeRun) -> None:
    text = Page(rendered()).text
    assert re.search(
        r"(Blood\+Pancreas|All|Pancreas) is better than Blood: it raises R² .log. by 0\.1\d\d, from 0\.28\d to 0\.",
        text,
    )
    assert re.search(r"Pancreas is worse than Blood: it lowers R² .log. by 0\.\d{3}, from 0\.5\d\d to 0\.2", text)
    assert re.search(r"Of 20 comparisons with Blood: \d+ better, \d+ worse", text)


def test_the_genes_that_a_blind_corpus_misses_come_first(make_run: MakeRun) -> None:
    folder = make_run(corpora=("Blood", "Blood+Pancreas", "No-Monocyte"), n_genes=400)
    source = render(folder).read_text(encoding="utf-8")
    grid = source[source.index('class="heat genes"') :]
    assert {"LYZ", "S100A9"} <= set(re.findall(r'<tr><th scope="row">(\w+)</th>', grid)[:4])
    assert "1 gene without a relative residual: gene not observed in the target" in source


def test_hostile_names_are_text_and_stay_inside_the_folder(make_run: MakeRun, tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    folder = make_run(
        name=HOSTILE[0], question=HOSTILE[3], corpora=HOSTILE, sources=HOSTILE[:3], model=HOSTILE[0],
        targets=("blood", "monocytes", HOSTILE[0], HOSTILE[2]), units={"blood": (f"donor={HOSTILE[0]}",)},
        failures=({"corpus": HOSTILE[0], "model": HOSTILE[3], "seed": 0, "message": HOSTILE[0]},),
    )  # fmt: skip
    path = render(folder)
    page = Page(path)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert "<script>alert" not in path.read_text(encoding="utf-8")
    assert HOSTILE[0] in page.text
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    for file in (folder / "figures").glob("*.svg"):
        assert not ElementTree.parse(file).findall(".//{*}script")
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert all(re.fullmatch(r"[a-z0-9-]+\.(svg|csv)", p.name) for p in written if p.parent.name == "figures")
    assert {p.parent for p in written} == {folder, folder / "figures"}


def test_the_same_run_gives_the_same_bytes(make_run: MakeRun) -> None:
    folder = make_run()
    contents = []
    for _ in range(2):
        render(folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        contents.append({path.relative_to(folder): path.read_bytes() for path in files})
    assert contents[0] == contents[1]


@pytest.mark.parametrize("empty", [False, True], ids=["missing", "empty"])
def test_what_was_not_recorded_is_said(make_run: MakeRun, *, empty: bool) -> None:
    folder = make_run()
    for name in ("curves", "composition", "sources", "genes"):
        path = folder / f"{name}.parquet"
        if empty:
            pd.read_parquet(path).iloc[:0].to_parquet(path)
        else:
            path.unlink()
    (folder / "provenance.json").write_text("{}")
    scores = pd.read_parquet(folder / "scores.parquet")
    scores[scores["task"] != "residuals"].to_parquet(folder / "scores.parquet")
    page = Page(render(folder))
    for sentence in (
        "The composition of the corpora was not recorded", "No training curves were recorded",
        "so there are no gene residuals", "What the quality filters kept and dropped was not recorded",
        "How the sources' genes map to the gene space was not recorded", "version not recorded",
    ):  # fmt: skip
        assert sentence in page.text
    assert [name for name in page.ids() if name in SECTIONS] == SECTIONS


def test_what_labels_are_called_is_shown_where_a_study_names_any(make_run: MakeRun) -> None:
    folder = make_run()
    text = Page(render(folder)).text
    assert "monocyte & kin" in text
    assert "<Mono 0>" in text
    (folder / "labels.parquet").unlink()
    assert "What the study calls labels" not in Page(render(folder)).text


def test_no_scores_at_all_still_gives_a_page(make_run: MakeRun) -> None:
    folder = make_run()
    pd.read_parquet(folder / "scores.parquet").iloc[:0].to_parquet(folder / "scores.parquet")
    assert "There are no scores over all cells" in Page(render(folder)).text


def test_one_seed_has_no_interval(make_run: MakeRun) -> None:
    text = Page(render(make_run(seeds=1))).text
    assert "interval not estimable from one seed" in text
    assert "Without an interval, nothing can be concluded" in text
    assert not re.search(r"\d–\d", text.split("R² (log), reconstruction · ldvae")[1].split("worse")[0])


def test_a_missing_value_shows_its_reason(rendered: MakeRun) -> None:
    text = Page(rendered()).text
    assert "no cell with two expressed genes (3 of 3 seeds)" in text
    assert re.search(r"cortex640 cells\s*(n/aa\s*){6}", text), "six times n/a, each with footnote a, and nothing else"


def test_a_corpus_without_scores_keeps_its_column(make_run: MakeRun) -> None:
    folder = make_run(failures=({"corpus": "All", "model": "ldvae", "seed": 0, "message": "loss was NaN"},))
    scores = pd.read_parquet(folder / "scores.parquet")
    scores[scores["corpus"] != "All"].to_parquet(folder / "scores.parquet")
    page = Page(render(folder))
    assert "1 run failed" in page.text
    assert "loss was NaN" in page.text
    assert "no score" in page.text


def test_without_its_baseline_nothing_is_compared(make_run: MakeRun) -> None:
    folder = make_run()
    scores = pd.read_parquet(folder / "scores.parquet")
    scores[scores["corpus"] != "Blood"].to_parquet(folder / "scores.parquet")
    assert "the baseline has no such score" in Page(render(folder)).text


def test_figures_of_an_earlier_report_go_and_other_files_stay(make_run: MakeRun) -> None:
    folder = make_run()
    place = folder / "figures"
    place.mkdir()
    for name in ("heatmap-old-model.svg", "heatmap-old-model.csv", "mine.svg", "heatmap-notes.txt"):
        (place / name).write_text("x")
    render(folder)
    left = {path.name for path in place.iterdir()}
    assert {"mine.svg", "heatmap-notes.txt"} <= left
    assert not {"heatmap-old-model.svg", "heatmap-old-model.csv"} & left


@pytest.mark.parametrize(("n_corpora", "n_types"), [(1, 1), (1, 30), (3, 3), (20, 1), (20, 30)])
def test_any_number_of_corpora_and_cell_types(make_run: MakeRun, n_corpora: int, n_types: int) -> None:
    corpora = tuple(f"Corpus {i}" for i in range(n_corpora))
    folder = make_run(corpora=corpora, n_types=n_types, n_genes=20, seeds=2)
    text = Page(render(folder)).text
    assert bool(re.search(r"other \(\d+ types\)", text)) == (n_types == 30)
    data = pd.read_csv(folder / "figures" / "composition-cell-type.csv")
    assert data.groupby("corpus")["share"].sum().round(9).eq(1).all()


def test_corpora_of_very_different_size_are_drawn_as_shares(make_run: MakeRun) -> None:
    folder = make_run()
    table = pd.read_parquet(folder / "composition.parquet")
    table.loc[table["corpus"] == "All", "n_cells"] *= 100
    table.to_parquet(folder / "composition.parquet")
    assert "bars show shares" in Page(render(folder)).text


def test_a_label_that_no_cell_has_is_said_to_be_missing(make_run: MakeRun) -> None:
    folder = make_run()
    table = pd.read_parquet(folder / "composition.parquet")
    donors = table[["corpus", "seed"]].drop_duplicates().assign(column="donor", value="(missing)", n_cells=100)
    pd.concat([table[table["column"] != "donor"], donors]).to_parquet(folder / "composition.parquet")
    assert "donor (missing)." in Page(render(folder)).text


@pytest.mark.parametrize("name", ["scores.parquet", "study.toml", "provenance.json"])
def test_a_folder_that_is_no_run_is_refused(make_run: MakeRun, name: str) -> None:
    folder = make_run()
    (folder / name).unlink()
    with pytest.raises(FolderError, match=re.escape(name)):
        render(folder)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("name", ["scores.parquet", "curves.parquet", "study.toml", "provenance.json"])
def test_a_broken_file_is_named(make_run: MakeRun, name: str) -> None:
    folder = make_run()
    (folder / name).write_text("{ not what it says")
    with pytest.raises(FolderError, match=re.escape(name)):
        render(folder)


def test_two_models_and_a_metric_that_is_better_low(make_run: MakeRun) -> None:
    folder = make_run()
    scores = pd.read_parquet(folder / "scores.parquet")
    loss = scores[scores["metric"] == "r2_log"].assign(
        model="pca", metric="loss", title="Loss", task="loss", better="lower"
    )
    pd.concat([scores, loss]).to_parquet(folder / "scores.parquet")
    page = Page(render(folder))
    assert "lower is better" in page.text.lower()
    assert "Pancreas is worse than Blood" in page.text
    better = "Pancreas is better than Blood: it lowers Loss by 0.2"
    assert better in page.text.split("Loss, loss, pca", 1)[1], "a loss that halves is better"


def test_many_corpora_are_shown_in_part_and_written_in_whole(make_run: MakeRun) -> None:
    corpora = tuple(f"Corpus {at:02d}" for at in range(33))
    page = Page(render(folder := make_run(corpora=corpora, seeds=2, n_genes=12, n_types=3)))
    assert "Tables and figures show 30 of 33 corpora" in page.text
    assert set(pd.read_csv(folder / "scores_summary.csv")["corpus"]) == set(corpora)
    assert len(list((folder / "figures").glob("measures-*.svg"))) == 30
    # Each has its row in the table of corpora.
    assert all(page.text.count(name) >= 1 for name in corpora)


def test_warnings_stand_before_the_answer_and_are_escaped(make_run: MakeRun) -> None:
    folder = make_run()
    provenance = json.loads((folder / "provenance.json").read_text())
    provenance["warnings"] = [f"line 3: corpora[0]: draws use up {HOSTILE[0]}", *(f"w{at}" for at in range(31))]
    (folder / "provenance.json").write_text(json.dumps(provenance))
    path = render(folder)
    page = Page(path)
    assert page.ids().index("warnings") < page.ids().index("overview")
    assert f"draws use up {HOSTILE[0]}" in page.text
    assert HOSTILE[0] not in path.read_text()
    assert "32 warnings" in page.text
    assert "… and 2 more" in page.text


def test_a_text_of_many_rows_is_in_memory_once(make_run: Callable[..., Path]) -> None:
    unit = RunFolder.read(make_run(seeds=3)).scores["unit"]
    assert len({id(text) for text in unit.array}) == unit.nunique() < len(unit)


def test_genes_of_any_task_whose_metrics_say_so_are_drawn(rendered: Callable[..., Path]) -> None:
    written = rendered()
    folder, before = written.parent, written.read_text()
    scores = pd.read_parquet(folder / "scores.parquet")
    own = {"observed_cp10k": "seen", "predicted_cp10k": "thought", "relative_residual": "off", "residuals": "mine"}
    scores[["metric", "task"]] = scores[["metric", "task"]].replace(own)
    scores.to_parquet(folder / "scores.parquet")
    genes = [
        page.split('<section id="genes" class="line">')[1].split("</section>")[0]
        for page in (before, render(folder).read_text())
    ]
    # The CSV has the metrics' names.
    genes = [re.sub(r"base64,[\w+/=]+", "", part) for part in genes]
    assert genes[0] == genes[1]
    drawn = pd.read_csv(folder / "figures" / "residuals-ldvae-monocytes.csv")
    assert {"seen", "thought", "off"} <= set(drawn)


def test_heads_say_what_they_are_of_and_drawings_what_they_show(rendered: MakeRun) -> None:
    page = rendered(seeds=2, corpora=("Blood", "Lung"), n_genes=12).read_text(encoding="utf-8")
    heads = re.findall(r"<th\b[^>]*>", page)
    assert len(heads) > 30
    assert [head for head in heads if "scope=" not in head] == []
    drawings = re.findall(r"<svg\b[^>]*>\s*<title>([^<]*)</title>", page)
    assert len(drawings) == page.count("<svg ") > 5
    assert all(drawings)
    assert page.count('<svg viewBox="') == page.count('role="img" font-family')
    assert len(re.findall(r'<div class="scroll[^>]*tabindex="0" role="region" aria-label="[^"]+"', page)) >= 5


def test_what_a_measure_means_is_not_in_a_tooltip_alone(rendered: MakeRun) -> None:
    page = Page(rendered(seeds=2, corpora=("Blood", "Lung"), n_genes=12))
    assert "Number of cell typesWhat <it> says." in page.text


def test_how_far_markers_scatter_is_a_table_and_a_file(rendered: MakeRun) -> None:
    written = rendered(seeds=2, corpora=("Blood", "Lung"), n_genes=12)
    folder = written.parent
    scores = pd.read_parquet(folder / "scores.parquet")
    assert "Marker genes" not in written.read_text(encoding="utf-8")
    one = scores[(scores["task"] == "reconstruction") & (scores["unit"] == "all") & (scores["metric"] == "r2_log")]
    ranks = one[one["target"] == "blood"].assign(
        task="markers", metric="marker_rank", unit="marker=<B>: LYZ", way="signed", headline=False
    )
    ranks["value"] = 3.0 + 4.0 * ranks["seed"]
    ranks["altered_type"] = ranks["corpus"].map({"Blood": "", "Lung": '["<B>", "T"]'}).astype("string")
    pd.concat([scores, ranks], ignore_index=True).to_parquet(folder / "scores.parquet")
    page = render(folder).read_text(encoding="utf-8")
    section = page.split('id="markers"')[1].split("</section>")[0]
    assert "Lung<small>&lt;B&gt;,<wbr> T altered</small>" in section
    assert section.count('class="warm resolved" style="--w: 28.3%"') == 1
    assert section.count('data-v="2.828') == 2
    table = pd.read_csv(folder / "marker_ranks.csv")
    assert table[["corpus", "gene", "mean", "range"]].to_numpy().tolist() == [
        ["Blood", "LYZ", 5, 4],
        ["Lung", "LYZ", 5, 4],
    ]
    assert not pd.read_csv(folder / "scores_summary.csv")["task"].eq("markers").any()


def test_gene_sets_are_a_section_and_a_file_in_which_names_stay_text(make_run: MakeRun) -> None:
    folder = make_run(seeds=2, corpora=("Blood", "Lung"), n_genes=12)
    scores = pd.read_parquet(folder / "scores.parquet")
    one = scores[(scores["task"] == "reconstruction") & (scores["unit"] == "all") & (scores["metric"] == "r2_log")]
    one = one[one["target"] == "blood"].assign(task="gene_sets", unit="set=Z_5: =1+<b>", way="loadings", headline=False)
    found = [
        one.assign(metric=metric, value=value, reason=reason)
        for metric, value, reason in (
            ("nes", 2.09, ""), ("enrichment_fdr", 8e-16, ""), ("leading_edge", 0.9, "<i>MKI67, TOP2A"),
        )
    ]  # fmt: skip
    pd.concat([scores, *found], ignore_index=True).to_parquet(folder / "scores.parquet")
    page = render(folder).read_text(encoding="utf-8")
    section = page.split('id="gene-sets"')[1].split("</section>")[0]
    assert section.count("2 of 2") == 2
    assert section.count("&lt;i&gt;MKI67, TOP2A") == 4
    assert "4 of 4 latents (over corpora and seeds) are tied to a set" in section
    assert "<b>=" not in section
    assert "+<b>" not in section
    table = pd.read_csv(folder / "gene_sets.csv")
    assert table["set"].eq("'=1+<b>").all()
    assert table["fdr"].eq(8e-16).all()
    assert not pd.read_csv(folder / "scores_summary.csv")["task"].eq("gene_sets").any()
