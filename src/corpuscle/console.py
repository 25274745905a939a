"""Where commands print to."""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console(*, stderr: bool = False) -> "Console":
    """Return a console of standard output, or of standard error; rich is imported when this is called."""
    from rich.console import Console

    # Piped into a file, a table must not be cut to 80 columns.
    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else 120
    return Console(stderr=stderr, width=width, highlight=False)
