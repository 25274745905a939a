"""Write what the runs of the small studies say of the published claims, for the documentation.

``python studies/summarise.py RUNS`` reads ``RUNS/STUDY/FILE`` (the runs of ``studies/STUDY/FILE.toml``), asks each
``studies/STUDY/claims.py`` for its claims, and writes ``docs/published/claims/STUDY.md``, the table of a study's page,
``STUDY_NAME.csv`` next to it for each other table that the study has, and ``all.md``, the table of the summary page.
"""

import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pandas as pd

from corpuscle import Results
from corpuscle.core.errors import InputError
from corpuscle.store import write_text

HERE = Path(__file__).resolve().parent
PAGES = HERE.parent / "docs" / "published" / "claims"
# A study file on data that do not come with the package, of studies that have one.
RICHER = "richer"
sys.path.insert(0, str(HERE))

from claim import Claim  # noqa: E402
from script import a_folder, run, words  # noqa: E402


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
    """Return a study's claims and, by name, its other tables; of the runs under `runs`, by the names of the files.

    Raises
    ------
    InputError
        When a small file has not run, or the runs do not have what the claims are about.
    """
    if missing := [path for path in small_files(study) if not (runs / study / path.stem).is_dir()]:
        commands = "\n".join(
            f"  corpuscle run {path.relative_to(HERE.parent)} -o {runs / study / path.stem}" for path in missing
        )
        raise InputError(
            f"{runs / study}: expected the runs of all small files of the study; not there: "
            f"{', '.join(path.stem for path in missing)}. Run\n{commands}"
        )
    module = module_of(study)
    runs_by_file = {path.stem: Results.load(runs / study / path.stem) for path in small_files(study)}
    with asking(runs / study):
        tables = module.tables(runs_by_file) if hasattr(module, "tables") else {}
        return module.claims(runs_by_file), tables


@contextmanager
def asking(runs: Path) -> Iterator[None]:
    """Turn what a study's ``claims.py`` does not find in its runs into one message."""
    try:
        yield
    except (ValueError, LookupError) as error:
        raise InputError(
            f"{runs}: the runs do not have what the study's claims are about ({error}); run its files as they are, to "
            "the end"
        ) from error


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


def files_of(study: str, runs: Path) -> dict[str, str]:
    """Return the files that the runs of a study lead to, by name; none where it has no runs."""
    files, richer = {}, runs / study / RICHER
    if (runs / study).is_dir() and any(path != richer for path in (runs / study).iterdir()):
        claims, tables = said_of(study, runs)
        files[f"{study}.md"] = table(claims)
        files |= {f"{study}_{name}.csv": one.to_csv(index=False, float_format="%.4g") for name, one in tables.items()}
    if richer.is_dir():
        results = Results.load(richer)
        with asking(richer):
            files[f"{study}_{RICHER}.md"] = table(module_of(study).richer(results))
    return files


def main(runs: Path) -> None:
    """Write the tables of the studies that have runs, and the one of all: of others, the table that is there stays.

    Raises
    ------
    InputError
        When no study has runs, or one has not all of them; nothing is written then.
    """
    studies = published_studies()
    files = {name: text for study in studies for name, text in files_of(study, runs).items()}
    if not files:
        raise InputError(
            f"{runs}: expected the folder of a study's runs in it ({', '.join(studies)}), as `make studies` leaves in "
            "runs/studies; there is none"
        )
    for name, text in files.items():
        write_text(PAGES / name, text)
    whole = []
    for study in studies:
        page, more = PAGES / f"{study}.md", PAGES / f"{study}_{RICHER}.md"
        if page.exists():
            whole.append(f"### [{title(study)}](../{study}.md)\n\n{page.read_text(encoding='utf-8')}")
        if more.exists():
            whole.append(f"On data that do not come with the package:\n\n{more.read_text(encoding='utf-8')}")
    write_text(PAGES / "all.md", "\n".join(whole))


def called() -> None:
    """Write the tables of a folder of runs."""
    parser = words(__doc__)
    parser.add_argument("runs", metavar="RUNS", type=a_folder, help="the folder of the runs")
    main(parser.parse_args().runs)


if __name__ == "__main__":
    run(called)
