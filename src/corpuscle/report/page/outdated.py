"""Outdated: an earlier run's page says so while a later run of its folder is at work, and after it was interrupted."""

from datetime import datetime
from pathlib import Path

from corpuscle.store import write_text

# With which the body of every page begins.
START = '<body><div class="page">\n'
MARK = 'id="outdated"'


def mark_outdated(page: Path) -> None:
    """Say at the top of a page that a later run began; what finishes writes the page anew. Without a page, nothing."""
    try:
        text = page.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return
    if MARK in text or START not in text:
        return
    began = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    note = (
        f'<div class="alert" {MARK} role="alert"><h2>Of an earlier run</h2><p>A later run in this folder began on '
        f"{began} and had not finished: the study, its corpora and its seeds may be others than this page shows. When "
        "it finishes, it writes this page anew; <code>corpuscle report</code> shows what is there by now.</p></div>\n"
    )
    head, start, rest = text.partition(START)
    write_text(page, f"{head}{start}{note}{rest}")
