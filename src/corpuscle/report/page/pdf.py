"""The page as PDF, printed by a browser that is there: Chromium, Chrome, Edge or Brave.

A page is laid out by style sheets that no Python library prints as browsers do (grids, `color-mix`, a script that opens
what a reader on paper needs), and nearly every machine that opens the page has a browser that prints without a window.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from corpuscle.core.disk import writing
from corpuscle.core.errors import InputError

NAMES = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "chrome.exe", "microsoft-edge",
    "msedge", "brave-browser",
)  # fmt: skip
# Where browsers are that are not on the path: macOS, then Windows.
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)
VARIABLE = "CORPUSCLE_BROWSER"
SECONDS = 300


def browsers() -> Iterator[str]:
    """Yield the browsers that could print, the one that ``CORPUSCLE_BROWSER`` names first."""
    if named := os.environ.get(VARIABLE):
        yield named
    yield from (found for name in NAMES if (found := shutil.which(name)))
    yield from (place for place in PLACES if Path(place).is_file())


def print_page(page: Path, pdf: Path) -> Path:
    """Print a page as PDF, A4 across, replacing what is there.

    Parameters
    ----------
    page
        The page.
    pdf
        Where to write.

    Raises
    ------
    InputError
        When no browser is found, or the one found could not print.
    DiskError
        When the disk is full.
    """
    browser = next(browsers(), None)
    if browser is None:
        raise InputError(
            f"{pdf}: expected Chromium, Chrome, Edge or Brave to print the page, found none; install one, name it in "
            f"{VARIABLE}, or open {page} and print it"
        )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        printed = Path(scratch) / "page.pdf"
        said = _run(_command(browser, Path(scratch), page, printed))
        if not printed.is_file():
            raise InputError(f"{pdf}: {browser} could not print {page}{said}; name another browser in {VARIABLE}")
        with writing(pdf):
            shutil.copyfile(printed, pdf)
    return pdf


def _command(browser: str, scratch: Path, page: Path, printed: Path) -> list[str]:
    """Return the command that prints without a window, a profile of one's own or a network."""
    # A browser refuses to be root in its sandbox; containers are.
    as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return [
        browser, "--headless", *as_root, "--disable-gpu", "--disable-extensions", "--no-first-run",
        f"--user-data-dir={scratch / 'profile'}", "--no-pdf-header-footer", f"--print-to-pdf={printed}",
        page.resolve().as_uri(),
    ]  # fmt: skip


def _run(command: list[str]) -> str:
    """Run a command; return what it said, if it failed."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f" ({error})"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return f" ({lines[-1][:200]})" if lines and done.returncode else ""
