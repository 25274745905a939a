"""File names from data: a corpus may be called ``a/b`` or ``..``, a folder may not."""

import hashlib
import re


def safe_name(text: str) -> str:
    """Return a file name for any text: itself where it is one, else a cleaned form with a short hash.

    Different texts get different names, also where the file system does not tell upper from lower case.

    Examples
    --------
    >>> safe_name("blood+pancreas"), safe_name("../etc")
    ('blood+pancreas', 'etc-5294e4b3')
    """
    clean = re.sub(r"[^A-Za-z0-9+=_-]+", "-", text).strip("-")[:60]
    if clean == text and text == text.lower():
        return clean
    return f"{clean or 'unnamed'}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
