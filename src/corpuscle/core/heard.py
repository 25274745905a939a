"""Heard: what is said while something is made, kept as lines: warnings, and messages of loggers."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from corpuscle.core.text import shown

# Lines that are kept at most, and letters of each.
LINES, LETTERS = 1000, 500


class _Lines(logging.Handler):
    """Keeps messages; where no logging was set up, they are still printed as Python does it."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        _keep(self.lines, f"{record.levelname} {record.name}: {record.getMessage()}")
        others = [one for one in logging.getLogger().handlers if not isinstance(one, _Lines)]
        if not others and logging.lastResort and self is _outermost():
            logging.lastResort.handle(record)


def _outermost() -> logging.Handler | None:
    return next((one for one in logging.getLogger().handlers if isinstance(one, _Lines)), None)


@contextmanager
def heard() -> Iterator[list[str]]:
    """Yield a list into which goes what the block says; it is shown as before. A block that fails has it as a note.

    Examples
    --------
    >>> with heard() as lines:
    ...     logging.getLogger("mine").warning("slow")
    >>> lines
    ['WARNING mine: slow']
    """
    lines: list[str] = []
    handler, show = _Lines(lines), warnings.showwarning

    def show_and_keep(*warning: Any, **options: Any) -> None:
        message, category, file, line = warning[:4]
        _keep(lines, f"{category.__name__}: {message} ({Path(file).name}, line {line})")
        show(*warning, **options)

    logging.getLogger().addHandler(handler)
    warnings.showwarning = show_and_keep
    try:
        yield lines
    except Exception as error:
        if lines:
            error.add_note("\n".join(["Before that:", *lines]))
        raise
    finally:
        warnings.showwarning = show
        logging.getLogger().removeHandler(handler)


def _keep(lines: list[str], text: str) -> None:
    if len(lines) < LINES:
        lines.append(shown(text, LETTERS))
