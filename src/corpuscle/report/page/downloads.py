"""Downloads: what a page carries with it, so that it is whole wherever it is sent."""

import base64


class Downloads:
    r"""Hands out contents as links that need no file, until the page would be too large for a mail.

    Parameters
    ----------
    most
        Bytes of all contents together; those that come later are left to the run's folder.

    Examples
    --------
    >>> Downloads(most=10)("a,b\n"), Downloads(most=3)("a,b\n")
    ('data:text/csv;base64,YSxiCg==', '')
    """

    def __init__(self, most: int = 5_000_000) -> None:
        self._left = most

    def __call__(self, content: str, most: int = 200_000) -> str:
        """Return a link to a CSV of at most so many bytes; empty where there is no room for it."""
        raw = content.encode()
        if len(raw) > min(most, self._left):
            return ""
        self._left -= len(raw)
        return f"data:text/csv;base64,{base64.b64encode(raw).decode()}"
