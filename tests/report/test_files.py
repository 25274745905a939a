"""What a report is besides the page: figures as PDF and PNG, the page as PDF, and how a browser shows it."""

import json
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from corpuscle.cli import app
from corpuscle.core.errors import InputError
from corpuscle.report.drawing import painted
from corpuscle.report.drawing.svg import Drawing
from corpuscle.report.page import pdf
from corpuscle.report.page.render import render

SMALL = {"corpora": ("Blood", "Blood+Lung"), "seeds": 2, "n_genes": 20, "targets": ("blood", "monocytes"), "n_types": 4}


def drawing() -> Drawing:
    """One of every element, with a text that TeX would read as a formula."""
    found = Drawing(200, 100, name="d", title="t")
    clip = found.clip(0, 0, 100, 100)
    found.add("rect", x=10, y=10, width=50, height=20, fill="cool", rx=2)
    found.add("circle", cx=150, cy=50, r=8, fill="surface", stroke="warm", stroke_width=2)
    found.add("polygon", points="100,70 110,70 110,80 100,80", fill="ink", fill_opacity=0.5)
    found.line(0, 90, 200, 90, stroke="ink", stroke_dasharray="3 3")
    found.path([(0, 0), (150, 50)], clip_path=clip, stroke="muted")
    found.dots([(20, 60), (30, 60)], 3, stroke="ink", stroke_opacity=0.5)
    found.text(10, 80, "a$b$ 日", text_anchor="middle", font_weight=600, paint_order="stroke", stroke="surface")
    return found


def few_figures(folder: Path) -> Path:
    """Leave of a run what makes a few figures."""
    for name in ("curves", "measures", "profiles", "composition"):
        (folder / f"{name}.parquet").unlink()
    scores = pd.read_parquet(folder / "scores.parquet")
    scores[scores["metric"] == "r2_log"].to_parquet(folder / "scores.parquet")
    return folder


def test_a_drawing_is_painted_as_it_is_drawn() -> None:
    from matplotlib.image import imread

    assert painted.painted(drawing(), "pdf").startswith(b"%PDF")
    picture = imread(BytesIO(painted.painted(drawing(), "png")))
    high, wide = picture.shape[:2]
    assert (wide, high) == (int(200 / 96 * 200), int(100 / 96 * 200))

    def at(x: float, y: float) -> str:
        return "#" + "".join(
            f"{round(255 * part):02x}" for part in picture[int(y * high / 100), int(x * wide / 200), :3]
        )

    assert at(35, 20) == "#2a78b8", "the bar"
    assert at(150, 50) == "#ffffff", "the ring"
    assert at(142.2, 50) == "#d9731a", "its edge"
    assert at(105, 75) in ("#8d9197", "#8e9298"), "half of it"
    assert at(125, 42) == "#ffffff", "what is clipped"


def test_every_element_that_figures_use_is_painted() -> None:
    folder = Path(painted.__file__).parent
    used = {
        tag
        for path in folder.glob("*.py")
        for tag in re.findall(r'\.add\(\s*"(\w+)"', path.read_text(encoding="utf-8"))
    }
    assert used <= set(painted.PAINTERS)
    assert "polygon" in used


def test_the_same_drawing_gives_the_same_bytes() -> None:
    assert painted.painted(drawing(), "pdf") == painted.painted(drawing(), "pdf")


def test_every_figure_is_written_in_the_forms_that_are_asked_for(make_run) -> None:
    folder = few_figures(make_run(**SMALL))
    render(folder, figures=["pdf"])
    stems = {path.stem for path in (folder / "figures").glob("*.svg")}
    assert {path.stem for path in (folder / "figures").glob("*.pdf")} == stems
    render(folder)
    assert not list((folder / "figures").glob("*.pdf")), "of another report than the page"


def test_an_unknown_form_is_refused_before_anything_is_written(make_run) -> None:
    folder = make_run(**SMALL)
    result = CliRunner().invoke(app, ["report", str(folder), "--figures", "eps,png"])
    assert isinstance(result.exception, InputError)
    assert "expected svg, pdf, png, not 'eps'" in str(result.exception)
    assert not (folder / "report.html").exists()


def test_without_matplotlib_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=re.escape("pip install 'corpuscle[plot]'")):
        painted.checked_formats(["pdf"])


def test_without_a_browser_there_is_one_message(make_run, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = few_figures(make_run(**SMALL))
    monkeypatch.setattr(pdf, "browsers", lambda: iter(()))
    result = CliRunner().invoke(app, ["report", str(folder), "--pdf"])
    assert isinstance(result.exception, InputError)
    assert "expected Chromium, Chrome, Edge or Brave" in str(result.exception)
    assert (folder / "report.html").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for the browser")
def test_a_browser_prints_the_page_or_its_last_word_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    browser, page = tmp_path / "browser", tmp_path / "page.html"
    page.write_text("<p>x</p>")
    browser.write_text(
        '#!/bin/sh\nfor word in "$@"; do case "$word" in --print-to-pdf=*) echo printed > "${word#*=}";; esac; done\n'
    )
    browser.chmod(0o755)
    monkeypatch.setenv(pdf.VARIABLE, str(browser))
    assert pdf.print_page(page, tmp_path / "page.pdf").read_text() == "printed\n"
    browser.write_text("#!/bin/sh\necho one >&2; echo no screen >&2; exit 3\n")
    with pytest.raises(InputError, match=re.escape("could not print") + ".*no screen.*CORPUSCLE_BROWSER"):
        pdf.print_page(page, tmp_path / "again.pdf")
    browser.unlink()
    with pytest.raises(InputError, match="could not print"):
        pdf.print_page(page, tmp_path / "again.pdf")


SCRIPT = """<script>{
const table = document.querySelector("table.bars"), found = {};
const order = () => [...table.tBodies[0].rows].map((row) => row.cells[0].firstChild.textContent);
const head = [...table.tHead.rows[1].cells][0], button = head.querySelector("button");
found.tags = [...table.tHead.querySelectorAll("th:not(.group)")].map((th) => th.querySelector("button") !== null);
button.focus(); found.focus = document.activeElement === button;
button.click(); found.down = [head.getAttribute("aria-sort"), order()];
button.click(); found.up = [head.getAttribute("aria-sort"), order()];
const tabs = [...document.querySelectorAll("#corpora [role=tab]")];
tabs[0].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
found.tabs = tabs.map((tab) => [tab.getAttribute("aria-selected"), tab.tabIndex,
  document.getElementById(tab.getAttribute("aria-controls")).hidden]);
found.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
found.save = document.querySelectorAll("figure .save").length === document.querySelectorAll("figure").length;
document.title = "found" + JSON.stringify(found) + "end";
}</script></body>"""


@pytest.mark.skipif(next(pdf.browsers(), None) is None, reason="needs Chromium")
def test_in_a_browser_tables_are_sorted_and_tabs_are_changed_by_keyboard(make_run, tmp_path: Path) -> None:
    page = render(make_run(**SMALL))
    asked = tmp_path / "asked.html"
    asked.write_text(page.read_text(encoding="utf-8").replace("</body>", SCRIPT), encoding="utf-8")
    command = [next(pdf.browsers()), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
               "--window-size=500,800", "--dump-dom", asked.as_uri()]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, check=True, timeout=300).stdout.decode()
    found = json.loads(re.search("<title>found(.*?)end</title>", dom)[1].replace("&amp;", "&"))
    assert all(found["tags"])
    assert found["focus"]
    assert found["down"][0] == "descending"
    assert found["up"] == ["ascending", found["down"][1][::-1]]
    assert [tab[:2] for tab in found["tabs"][:2]] == [["false", -1], ["true", 0]]
    assert [tab[2] for tab in found["tabs"][:2]] == [True, False]
    assert found["wide"] == 0, "the page itself never scrolls sideways"
    assert found["save"]
