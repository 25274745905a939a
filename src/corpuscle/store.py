"""Store: results named after the fingerprint of what they hang on; a folder that exists is complete."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

PARTIAL = ".partial-"


class Store:
    """A folder of results, each written once and whole.

    A result is written into a folder of another name beside it and renamed when it is complete, so that a process
    killed at any moment leaves either the whole result or none.

    Parameters
    ----------
    root
        The store's folder; it is made when the first result is written.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> store = Store(Path(mkdtemp()))
    >>> with store.create("models", "c0ffee") as folder:
    ...     _ = (folder / "weights.txt").write_text("1 2 3")
    >>> store.has("models", "c0ffee")
    True
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, kind: str, key: str) -> Path:
        """Return where a result is, or would be."""
        return self.root / kind / key

    def has(self, kind: str, key: str) -> bool:
        """Say whether a result is there, which means: complete."""
        return self.folder(kind, key).is_dir()

    @contextmanager
    def create(self, kind: str, key: str) -> Iterator[Path]:
        """Give a folder to write a result into; it is in the store when the block ends without an error."""
        final = self.folder(kind, key)
        partial = final.with_name(f"{PARTIAL}{key}-{uuid4().hex[:8]}")
        partial.mkdir(parents=True)
        try:
            yield partial
            try:
                partial.rename(final)
            except OSError:
                # Another process was quicker; what hangs on the same fingerprint is the same result.
                if not final.is_dir():
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left below a folder; call it only while no other process writes there."""
    for partial in list(folder.rglob(f"{PARTIAL}*")):
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a path to write to; it takes the place of `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{PARTIAL}{uuid4().hex[:8]}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
