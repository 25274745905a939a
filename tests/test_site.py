"""The site: what pages print runs, what they link to is there, and every public name and component has its place.

The build, in which each warning is an error, is `test_the_site_builds_without_a_warning`. It executes no notebook;
`make docs` does.
"""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import tomli_w
from numpy.typing import NDArray

import corpuscle
from corpuscle import cli
from corpuscle.core import components
from corpuscle.measures.measure import Measure
from corpuscle.source.source import dataset_names
from corpuscle.terminal.listing import KINDS
from repository import ROOT, environment

DOCS = ROOT / "docs"
# Tables of claims and of the search on cells are parts of the pages that include them.
PAGES = sorted(page for page in DOCS.rglob("*.md") if not {"_build", "claims", "mixture-on-cells"} & {*page.parts})
FENCED = re.compile(r"^([ ]*)(`{3,}|:{3,})([^\n]*)\n(.*?)^\1\2[ ]*$", re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in one language."""
    text = page.read_text(encoding="utf-8")
    return [dedent(code) for _, _, info, code in FENCED.findall(text) if info.strip() == language]


def prose(page: Path) -> str:
    """Return a page without its code blocks and code spans, where nothing is a link; directives stay."""
    text = page.read_text(encoding="utf-8")
    text = FENCED.sub(lambda found: found[4] if found[3].startswith("{") or found[2][0] == ":" else "", text)
    return re.sub(r"(`+).+?\1", "code", text)


def files_of(page: Path) -> dict[str, str]:
    """Return the files that a page has its reader save: name and content."""
    text = page.read_text(encoding="utf-8")
    return dict(re.findall(r"^Save this as `([\w.]+)`.*?\n```\w+\n(.*?)^```", text, re.DOTALL | re.MULTILINE))


def heading_anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#{1,4} (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_what_a_page_links_to_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        assert file.is_relative_to(ROOT), f"{page.name} links to {target}, outside the repository"
        if anchor and file.suffix == ".md":
            assert anchor in heading_anchors(file), f"{page.name} links to {target}; that page has no such heading"


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = {DOCS / "index.md"}
    for page in PAGES:
        for _, _, info, code in FENCED.findall(page.read_text(encoding="utf-8")):
            if info.strip() == "{toctree}":
                entries = [line for line in code.splitlines() if line.strip() and not line.startswith(":")]
                for path in (re.sub(r"^.* <(.+)>$", r"\1", entry) for entry in entries):
                    listed |= (
                        {*page.parent.glob(f"{path}.md")} if "*" in path else {(page.parent / f"{path}.md").resolve()}
                    )
    assert sorted(page.relative_to(DOCS).as_posix() for page in set(PAGES) - listed) == []
    assert sorted(page.as_posix() for page in listed - set(PAGES)) == []


def test_the_reference_has_every_public_name() -> None:
    page = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\.\. auto\w+:: corpuscle\.(\w+)$", page, re.MULTILINE))
    assert documented == set(corpuscle.__all__) - {"__version__"}
    listed = re.search(r"automodule:: corpuscle\.mixture\n   :members: (.+)$", page, re.MULTILINE)
    assert listed is not None
    assert set(listed[1].split(", ")) == set(corpuscle.mixture.__all__)
    from corpuscle import plot

    figures = set(re.findall(r"^\.\. autofunction:: corpuscle\.plot\.(\w+)$", page, re.MULTILINE))
    assert figures == set(plot.__all__)


def test_each_kind_has_a_page_that_is_generated() -> None:
    for kind in [*KINDS, "measures", "datasets"]:
        page = (DOCS / "reference" / "components" / f"{kind}.md").read_text(encoding="utf-8")
        assert page.count(f"<!-- generated: {kind} -->") == 1


def test_generated_pages_have_every_component_as_the_command_line_prints_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    import component_pages
    from rich.console import Console

    from corpuscle.terminal import show_components

    for kind, cls in KINDS.items():
        page = component_pages.components_of(cls)
        for name in components.names(cls):
            section = re.split(r"^## ", page.split(f"\n## `{name}`\n")[1], flags=re.MULTILINE)[0]
            show_components(Console(width=120, highlight=False), name)
            printed = "".join(capsys.readouterr().out.split())
            # Ticks and signs of Markdown aside, what the terminal prints is on the page.
            for part in (
                re.sub(r"^```.*?^```", "", section, flags=re.DOTALL | re.MULTILINE).replace("``", "`").split("\n\n")
            ):
                if not part.startswith(("**", "|", "(")):
                    for line in part.split("\n: "):
                        shown = "".join(line.removeprefix("`").removesuffix("`").split())
                        assert shown in printed or shown in printed.replace("`", ""), f"{kind}: {name}: {line}"
    assert all(f"`{name}`" in component_pages.measures() for name in components.names(Measure))
    assert all(f"`{name}`" in component_pages.data_sets() for name in dataset_names())


def test_the_files_of_a_run_are_those_that_the_page_on_formats_has() -> None:
    from corpuscle.core.scores import COLUMNS
    from corpuscle.execution.tables import CURVES, MAPS

    page = (DOCS / "reference" / "file-formats.md").read_text(encoding="utf-8")
    for name in {*COLUMNS, *CURVES, *MAPS}:
        assert f"`{name}`" in page


@pytest.mark.parametrize("kind", ["sampler", "model", "task"])
def test_a_component_of_ones_own_runs_as_printed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = DOCS / "how-to" / f"own-{kind}.md"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    files = files_of(page)
    assert list(files) == [f"my_{kind}.py"]
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")
    trials = [code for code in blocks(page, "python") if code not in files.values()]
    for code in trials:
        exec(compile(code, page.name, "exec"), {})
    assert capsys.readouterr().out.strip()
    (study,) = blocks(page, "toml")
    rest = {
        "sources": '[sources]\nblood = { dataset = "pbmc3k" }\n[holdout]\nblood = { by = "cell", share = 0.5 }\n',
        "corpora": '[[corpora]]\nname = "A"\nparts = [{ source = "blood", n_cells = 50 }]\n',
        "models": '[[models]]\nname = "pca"\n',
    }
    others = "".join(text for key, text in rest.items() if f"[[{key}]]" not in study)
    parsed = corpuscle.Study.parse(f'name = "page"\nseeds = 1\n{others}{study}', tmp_path)
    assert f"my_{kind}:" in str(parsed.spec)


def study_blocks() -> list[Any]:
    """Return what how-to pages have of study files, but for the table of a cluster."""
    found = ((page, code) for page in sorted((DOCS / "how-to").glob("*.md")) for code in blocks(page, "toml"))
    return [pytest.param(code, id=f"{page.stem}-{at}") for at, (page, code) in enumerate(found) if page.stem != "slurm"]


@pytest.mark.parametrize("code", study_blocks())
def test_what_a_how_to_puts_into_a_study_file_is_legal_there(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("sampler", "model", "task"):
        for name, text in files_of(DOCS / "how-to" / f"own-{kind}.md").items():
            (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "labels.csv").write_text("from,to\nB,B cell\n")
    given = tomllib.loads(code)
    # A source that a block only holds out, or asks about, is any.
    source = next(iter(given.get("sources", {**given.get("holdout", {}), "blood": {}})))
    whole = {
        "name": "page",
        "sources": {source: {"dataset": "pbmc3k"}, "blood": {"dataset": "pbmc3k"}},
        "holdout": {"blood": {"by": "cell", "share": 0.5}},
        "corpora": [{"name": "A", "parts": [{"source": source, "n_cells": 5}]}],
        "models": [{"name": "pca"}],
        "tasks": [{"name": "annotation", "on": ["blood"]}],
        **given,
    }
    whole["sources"].setdefault("blood", {"dataset": "pbmc3k"})
    assert corpuscle.Study.parse(tomli_w.dumps(whole), tmp_path).name == "page"


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Do what a line of a shell would, in this process where it can be done here; return the exit code."""

    def run(line: str) -> int:
        words = shlex.split(line.removesuffix(" || true"))
        if words[0] == "corpuscle":
            monkeypatch.setattr("sys.argv", words)
            # All cores would be used, by processes whose start takes longer than what they do here.
            with monkeypatch.context() as here:
                if words[1] == "run":
                    here.setattr("corpuscle.execution.workflow.cores", lambda: 0)
                try:
                    cli.main()
                except SystemExit as end:
                    return int(end.code or 0)
            return 0
        if words[:2] == ["python", "-c"]:
            exec(words[2], {})
            return 0
        return subprocess.run(["bash", "-c", line], check=False).returncode

    return run


class _Thrown:
    """A map of no meaning, in place of UMAP's."""

    def __init__(self, **_: Any) -> None:
        pass

    def fit_transform(self, z_NK: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.random.default_rng(0).normal(size=(len(z_NK), 2))


@pytest.mark.slow
def test_the_start_page_runs_as_printed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: Callable[[str], int],
) -> None:
    """Its commands one after the other, with its file; but for the installation, and with fewer steps and cells.

    Maps are laid out at random: UMAP would be compiled for longer than all else here takes.
    """
    monkeypatch.setattr("umap.UMAP", _Thrown)
    page = DOCS / "start.md"
    (study,) = blocks(page, "toml")
    quicker = {"steps = 500": "steps = 3", "seeds    = 3": "seeds    = 1", "n_cells = 400": "n_cells = 60"}
    quicker['by = "cell", share = 0.25'] = 'by = "cell", share = 0.05'
    for printed, quick in quicker.items():
        assert printed in study
        study = study.replace(printed, quick)
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text(study, encoding="utf-8")
    commands = [line for code in blocks(page, "sh") if "pip install" not in code for line in code.splitlines()]
    assert len(commands) == 6
    for line in commands:
        assert typed(line) == (2 if line.endswith("|| true") else 0), line
    said = capsys.readouterr()
    assert "6 runs" in said.out
    assert "Blood+Pancreas" in said.out
    quoted = re.findall(r"^> (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert quoted
    assert all(line in said.err for line in quoted)
    assert Path("results", "report.html").exists()


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("furo", reason="the extra docs is not installed")
    pytest.importorskip("myst_nb", reason="the extra docs is not installed")
    arguments = ["-W", "--keep-going", "-q", "-b", "html", "-D", "nb_execution_mode=off", "-d", str(tmp_path / "read")]
    command = [sys.executable, "-m", "sphinx", *arguments, str(DOCS), str(tmp_path / "html")]
    built = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = {page.relative_to(DOCS).with_suffix(".html") for page in PAGES}
    assert all((tmp_path / "html" / page).exists() for page in pages)
    assert (tmp_path / "html" / "study.schema.json").exists()
    _hrefs_lead_somewhere(tmp_path / "html")


def _hrefs_lead_somewhere(site: Path) -> None:
    found: dict[Path, Any] = {}
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        found[page.resolve()] = set(re.findall(r'\bid="([^"]+)"', text)), re.findall(r'<a [^>]*href="([^"]+)"', text)
    for page, (_, hrefs) in found.items():
        for href in hrefs:
            path, _, anchor = href.partition("#")
            target = (page.parent / path).resolve() if path else page
            if re.match(r"[a-z]+:", href):
                continue
            assert target.exists(), f"{page.name} links to {href}"
            if anchor and target in found:
                assert anchor in found[target][0], f"{page.name} links to {href}"


def test_links_to_the_repository_lead_to_pages_where_there_are_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    from repository_links import page_of, target_of

    found = {
        ("design/house", "artifacts.md#names"): "design/artifacts",
        ("how-to/own-sampler", "../../CONTRIBUTING.md"): "contributing",
        ("contributing", "docs/measures.md"): "measures",
        ("statistics", "../src/corpuscle/statistics/intervals.py"): None,
    }
    for (page, link), expected in found.items():
        path = target_of(page, link)
        assert path is not None
        assert page_of(path) == expected
    assert target_of("statistics", "../../elsewhere.md") is None
    assert target_of("statistics", "gone.md") is None
