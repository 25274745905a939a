"""Options that several commands have, worded once."""

from pathlib import Path
from typing import Annotated

import typer

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="The study file (TOML).", show_default=False)]
Output = Annotated[
    Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write into.", show_default=False)
]
Workers = Annotated[
    int | None,
    typer.Option("-w", "--workers", min=1, metavar="N", help="Processes that work at once. Default: all cores."),
]
StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="STORE",
        help="Where what is made is kept; runs may share it. Default: where it was, or the output folder's own.",
        show_default=False,
    ),
]

ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="WHERE",
        help="A Dask scheduler (tcp://host:port), slurm, or a TOML file with what SLURM's jobs are to have.",
        show_default=False,
    ),
]
MixtureFile = Annotated[
    Path, typer.Argument(metavar="STUDY", help="A study file that has a mixture table.", show_default=False)
]
