"""File names from data: a corpus may be called ``a/b`` or ``..``, a folder may not."""

import hashlib
import re


def safe_name(text: str) -> str:
    """Return a file name for any text: itself where it is one, else a cleaned form with a short hash.

    Examples
    --------
    >>> safe_name("Blood+Pancreas"), safe_name("../etc")
    ('Blood+Pancreas', 'etc-f7f9121f')
    """
    clean = re.sub(r"[^A-Za-z0-9+=_-]+", "-", text).strip("-")[:60]
    if clean and clean == text:
        return clean
    return f"{clean or 'unnamed'}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
