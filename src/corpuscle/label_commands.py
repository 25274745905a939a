"""The command `corpuscle labels`: names that labels of one meaning could share, as a table that a study reads."""

from pathlib import Path
from typing import Annotated

import typer

SUFFIX = ".csv"


def labels(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study file (TOML).", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Table to write (CSV).", show_default=False)
    ] = None,
    label: Annotated[str, typer.Option("--label", metavar="COLUMN", help="Which label.")] = "cell_type",
    overwrite: Annotated[  # noqa: FBT002
        bool, typer.Option("--overwrite", help="Replace the table; names that the study takes from it stay.")
    ] = False,
) -> None:
    """Propose one name for labels that mean the same, with how sure each is; what has no sure name is left to you.

    The table is one that `[labels]` of a study file names. Nothing is trained, and no counts are read.
    """
    from corpuscle import Study, terminal
    from corpuscle.console import console
    from corpuscle.core.csv_text import csv_text
    from corpuscle.core.errors import InputError
    from corpuscle.core.paths import is_there
    from corpuscle.store import write_text
    from corpuscle.study.proposing import proposed

    if output is not None and output.suffix.lower() != SUFFIX:
        raise InputError(f"--output: expected a file that ends in {SUFFIX}; got {output}")
    if output is not None and is_there(output) and not (overwrite and output.is_file()):
        raise InputError(f"{output} is there already; give another file, or --overwrite to replace a table")
    preparing = terminal.Preparing(console(stderr=True))
    with preparing.progress:
        found = proposed(Study.read(study), label, preparing.notice)
    if output is not None:
        write_text(output, csv_text(found.table, exact=True))
    terminal.show_proposals(console(), found, label, output, _as_named(output, study))


def _as_named(written: Path | None, study: Path) -> str:
    """Return what the study calls a table: its path from the study file, where it is next to or below that."""
    if written is None:
        return ""
    path, folder = written.absolute(), study.parent.absolute()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
