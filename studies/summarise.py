"""Write what the runs of the small studies say of the published claims, for the documentation.

``python studies/summarise.py RUNS`` reads ``RUNS/STUDY/FILE`` (the runs of ``studies/STUDY/FILE.toml``), asks each
``studies/STUDY/claims.py`` for its claims, and writes ``docs/published/claims/STUDY.md``, the table of a study's page,
``STUDY_NAME.csv`` next to it for each other table that the study has, and ``all.md``, the table of the summary page.
"""

import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pandas as pd

from corpuscle import Results

HERE = Path(__file__).resolve().parent
PAGES = HERE.parent / "docs" / "published" / "claims"
# A study file on data that do not come with the package, of studies that have one.
RICHER = "richer"
sys.path.insert(0, str(HERE))

from claim import Claim  # noqa: E402


def published_studies() -> list[str]:
    """Return the names of the studies that follow a publication: folders with small study files and claims."""
    return sorted(path.parent.name for path in HERE.glob("*/claims.py"))


def small_files(study: str) -> list[Path]:
    """Return a study's small study files."""
    return sorted((HERE / study).glob("small*.toml"))


def module_of(study: str) -> ModuleType:
    """Return a study's ``claims.py``."""
    spec = importlib.util.spec_from_file_location(f"{study}_claims", HERE / study / "claims.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said_of(study: str, runs: Path) -> tuple[list[Claim], dict[str, pd.DataFrame]]:
    """Return a study's claims and, by name, its other tables; of the runs under `runs`, by the names of the files."""
    module = module_of(study)
    runs_by_file = {path.stem: Results.load(runs / study / path.stem) for path in small_files(study)}
    tables = module.tables(runs_by_file) if hasattr(module, "tables") else {}
    return module.claims(runs_by_file), tables


# What Markdown would not print as it is within a cell of a table.
MARKUP = re.compile(r"[\\`*_\[\]<|&]")


def cell(text: str) -> str:
    """Return a text as it is in a cell of a table in Markdown: one line, no markup."""
    return MARKUP.sub(lambda sign: "\\" + sign[0], " ".join(text.split()))


def title(study: str) -> str:
    """Return the heading of a study's page; its name, where there is none."""
    page = PAGES.parent / f"{study}.md"
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") if page.exists() else study


def table(claims: Sequence[Claim]) -> str:
    """Return claims as a table in Markdown."""
    lines = ["| published | measured here | verdict |", "|---|---|---|"]
    for one in claims:
        measured = cell(f"{one.measured}: {one.estimate}")
        parts = f"**{cell(one.name)}.** {cell(one.published)}", measured, f"**{one.verdict}.** {cell(one.because)}"
        lines.append(f"| {' | '.join(parts)} |")
    return "\n".join(lines) + "\n"


def main(runs: Path) -> None:
    """Write the tables of the studies that have runs, and the one of all: of others, the table that is there stays."""
    PAGES.mkdir(parents=True, exist_ok=True)
    whole = []
    for study in published_studies():
        page = PAGES / f"{study}.md"
        if (runs / study).is_dir():
            claims, tables = said_of(study, runs)
            page.write_text(table(claims), encoding="utf-8")
            for name, one in tables.items():
                one.to_csv(PAGES / f"{study}_{name}.csv", index=False, float_format="%.4g")
        if (runs / study / RICHER).is_dir():
            claims = module_of(study).richer(Results.load(runs / study / RICHER))
            (PAGES / f"{study}_{RICHER}.md").write_text(table(claims), encoding="utf-8")
        if page.exists():
            whole.append(f"### [{title(study)}](../{study}.md)\n\n{page.read_text(encoding='utf-8')}")
        more = PAGES / f"{study}_{RICHER}.md"
        if more.exists():
            whole.append(f"On data that do not come with the package:\n\n{more.read_text(encoding='utf-8')}")
    (PAGES / "all.md").write_text("\n".join(whole), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
