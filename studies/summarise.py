"""Write what the runs of the small studies say of the published claims, for the documentation.

``python studies/summarise.py RUNS`` reads ``RUNS/STUDY/FILE`` (the runs of ``studies/STUDY/FILE.toml``), asks each
``studies/STUDY/claims.py`` for its claims, and writes ``docs/published/claims/STUDY.md``, the table of a study's page,
and ``docs/published/claims/all.md``, that of the summary page.
"""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from corpuscle import Results

HERE = Path(__file__).resolve().parent
PAGES = HERE.parent / "docs" / "published" / "claims"
sys.path.insert(0, str(HERE))

from claim import Claim  # noqa: E402


def published_studies() -> list[str]:
    """Return the names of the studies that follow a publication: folders with small study files and claims."""
    return sorted(path.parent.name for path in HERE.glob("*/claims.py"))


def small_files(study: str) -> list[Path]:
    """Return a study's small study files."""
    return sorted((HERE / study).glob("small*.toml"))


def claims_of(study: str, runs: Path) -> list[Claim]:
    """Return a study's claims, from the folders of its runs under `runs`, by the names of the study files."""
    spec = importlib.util.spec_from_file_location(f"{study}_claims", HERE / study / "claims.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    runs_by_file = {path.stem: Results.load(runs / study / path.stem) for path in small_files(study)}
    found: list[Claim] = module.claims(runs_by_file)
    return found


def table(claims: Sequence[Claim]) -> str:
    """Return claims as a table in Markdown."""
    lines = ["| published | measured here | |", "|---|---|---|"]
    lines += [
        f"| **{one.name}.** {one.published} | {one.measured}: {one.estimate} | **{one.verdict}.** {one.because} |"
        for one in claims
    ]
    return "\n".join(lines) + "\n"


def main(runs: Path) -> None:
    """Write all tables."""
    PAGES.mkdir(parents=True, exist_ok=True)
    whole = []
    for study in published_studies():
        claims = claims_of(study, runs)
        (PAGES / f"{study}.md").write_text(table(claims))
        whole.append(f"## [{study}](../{study}.md)\n\n{table(claims)}")
    (PAGES / "all.md").write_text("\n".join(whole))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
