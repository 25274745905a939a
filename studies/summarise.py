"""Write what the runs of the small studies say of the published claims, for the documentation.

``python studies/summarise.py RUNS`` reads ``RUNS/STUDY/FILE`` (the runs of ``studies/STUDY/FILE.toml``), asks each
``studies/STUDY/claims.py`` for its claims, and writes ``docs/published/claims/STUDY.md``, the table of a study's page,
``STUDY_NAME.csv`` next to it for each other table that the study has, and two tables of the summary page: ``all.md``,
the claims, and ``glance.md``, how many have which verdict.
"""

import importlib.util
import json
import re
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, get_args

import pandas as pd

from corpuscle import Results
from corpuscle.core.errors import InputError
from corpuscle.statistics.intervals import widening
from corpuscle.store import write_text

HERE = Path(__file__).resolve().parent
PAGES = HERE.parent / "docs" / "published" / "claims"
# How much wider intervals are tried to be, and the verdicts that say of something that it is shown.
WIDER = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
SHOWN = ("pattern seen", "artefact", "not seen")
# A study file on data that do not come with the package, of studies that have one.
RICHER = "richer"
sys.path.insert(0, str(HERE))

from claim import Claim, Verdict, wider  # noqa: E402
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


class Said(NamedTuple):
    """Claims; by name, how much wider intervals may be before a verdict changes; and by how much reports widen them.

    The last two are about cells that seeds share: `claims` have Student's intervals, which are about draws from the
    cells that are there; reports widen theirs to be about other cells of the same kind.
    """

    claims: list[Claim]
    stands_to: dict[str, float]
    reports: tuple[float, float]


def said(asked: Callable[[], list[Claim]], runs: Collection[Results]) -> Said:
    """Ask for claims, with wider and wider intervals."""
    claims = asked()
    standing = {one.name: one.verdict for one in claims if one.verdict in SHOWN}
    stands = dict.fromkeys(standing, 1.0)
    for factor in WIDER:
        with wider(factor):
            again = {one.name: one.verdict for one in asked()}
        standing = {name: verdict for name, verdict in standing.items() if again[name] == verdict}
        stands |= dict.fromkeys(standing, factor)
    factors = [factor for run in runs for factor in _widened(run)]
    return Said(claims, stands, (min(factors), max(factors)))


def _widened(run: Results) -> list[float]:
    """Return by which factor the report of a run widens the interval of each corpus."""
    draws = pd.read_parquet(run.folder / "draws.parquet")
    overlaps = draws.groupby("corpus")["overlap"].max().fillna(0.0)
    return [float(factor) for factor in widening(run.scores["seed"].nunique(), overlaps.to_numpy(float))]


def said_of(study: str, runs: Path) -> tuple[Said, dict[str, pd.DataFrame]]:
    """Return what a study's runs say and, by name, its other tables; of the runs under `runs`, by names of files.

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
    runs_by_file = {path.stem: finished(runs / study / path.stem) for path in small_files(study)}
    with asking(runs / study):
        tables = module.tables(runs_by_file) if hasattr(module, "tables") else {}
        return said(lambda: module.claims(runs_by_file), runs_by_file.values()), tables


def finished(folder: Path) -> Results:
    """Load a run; one that is not finished is refused, as its claims would be of some of its seeds."""
    found = Results.load(folder)
    if json.loads((folder / "provenance.json").read_text(encoding="utf-8")).get("unfinished"):
        raise InputError(f"{folder}: its run is not finished; run its file again, to the end")
    return found


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


def _factor(stands_to: float) -> str:
    return f"× {stands_to:g}{' or more' if stands_to == WIDER[-1] else ''}"


def table(found: Said) -> str:
    """Return claims as a table in Markdown."""
    lines = ["| published | measured here | verdict | stands to |", "|---|---|---|---|"]
    for one in found.claims:
        measured = cell(f"{one.measured}: {one.estimate}")
        verdict = f"**{one.verdict}.** {cell(one.because)}"
        stands = _factor(found.stands_to[one.name]) if one.name in found.stands_to else ""
        lines.append(f"| **{cell(one.name)}.** {cell(one.published)} | {measured} | {verdict} | {stands} |")
    least, most = (f"{factor:.1f}" for factor in found.reports)
    lines += ["", f"Seeds share cells: for that, reports of these runs widen intervals by {least} to {most} times."]
    return "\n".join(lines) + "\n"


def glance(studies: Collection[str]) -> str:
    """Return how many claims of each study have which verdict, by the tables that are there, as a table in Markdown."""
    verdicts = get_args(Verdict)
    lines = [f"| study | cells | {' | '.join(verdicts)} |", f"|---|---|{'---:|' * len(verdicts)}"]
    for study in studies:
        for name, cells in ((study, "of the package"), (f"{study}_{RICHER}", "richer")):
            page = PAGES / f"{name}.md"
            if page.exists():
                text = page.read_text(encoding="utf-8")
                counts = (str(text.count(f" | **{verdict}.** ")) for verdict in verdicts)
                lines.append(f"| [{title(study)}](../{study}.md) | {cells} | {' | '.join(counts)} |")
    return "\n".join(lines) + "\n"


def files_of(study: str, runs: Path) -> dict[str, str]:
    """Return the files that the runs of a study lead to, by name; none where it has no runs."""
    files, richer = {}, runs / study / RICHER
    if (runs / study).is_dir() and any(path != richer for path in (runs / study).iterdir()):
        found, tables = said_of(study, runs)
        files[f"{study}.md"] = table(found)
        files |= {f"{study}_{name}.csv": one.to_csv(index=False, float_format="%.4g") for name, one in tables.items()}
    if richer.is_dir():
        results = finished(richer)
        with asking(richer):
            files[f"{study}_{RICHER}.md"] = table(said(lambda: module_of(study).richer(results), [results]))
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
    write_text(PAGES / "glance.md", glance(studies))
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
