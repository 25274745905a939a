"""Terms: what a worker of a cluster must have, so that what it makes is what this process would make.

It imports little: this module is the first that a worker is asked to run.
"""

import contextlib
import os
import platform
import time
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from corpuscle.core.fingerprint import fingerprint, hash_file
from corpuscle.core.version import __version__

# What numbers may depend on.
PACKAGES = (
    "anndata", "h5py", "numba", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "torch", "umap-learn", "zarr",
)  # fmt: skip
# How long a file is waited for that was written on another machine: network file systems keep names for a while.
SEEN_SECONDS = 5.0


class Terms(NamedTuple):
    """What a worker must have.

    Attributes
    ----------
    versions
        Of Python, Corpuscle and packages.
    code
        A fingerprint of Corpuscle's own code.
    probes
        Files that this process wrote, each with what is in it: a folder of the same name may be another one.
    sources
        Files and folders that must be there.
    """

    versions: tuple[tuple[str, str], ...]
    code: str
    probes: tuple[tuple[str, str], ...] = ()
    sources: tuple[str, ...] = ()


# Which terms this process was found to have. What is missing is looked at again.
_kept: set[Terms] = set()


def own_versions() -> tuple[tuple[str, str], ...]:
    """Return the versions of this process."""
    return (
        ("Python", platform.python_version()),
        ("corpuscle", __version__),
        *((name, version_of(name)) for name in PACKAGES),
    )


def version_of(package: str) -> str:
    """Return the version of a package; where it is not installed, a word for that."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


@cache
def own_code() -> str:
    """Return a fingerprint of the code of this package: two checkouts may be of one version."""
    root = Path(__file__).parents[2]
    return fingerprint([(path.relative_to(root).as_posix(), hash_file(path)) for path in sorted(root.rglob("*.py"))])


def differing(theirs: Sequence[tuple[str, str]], ours: Sequence[tuple[str, str]]) -> str:
    """Return in words which versions differ; empty: none.

    Examples
    --------
    >>> differing([("Python", "3.12.1")], [("Python", "3.11.2")])
    'it has Python 3.12.1, here it is 3.11.2'
    """
    found = dict(theirs)
    return "; ".join(
        f"it has {name} {found[name]}, here it is {version}"
        for name, version in ours
        if name in found and found[name] != version
    )


def unmet(terms: Terms) -> str:
    """Return in words what this process lacks; empty: nothing."""
    if terms in _kept:
        return ""
    if problem := differing(own_versions(), terms.versions):
        return f"{problem}; start workers from the same environment as this command"
    if own_code() != terms.code:
        return f"its code of corpuscle {__version__} is another; install the same there"
    for path, token in terms.probes:
        if not _sees(Path(path), token):
            return (
                f"it does not see the store {Path(path).parents[1]}; choose one in a folder that all workers share "
                "(-o, --store)"
            )
    for source in terms.sources:
        if not Path(source).exists():
            return f"it does not see {source}, which the study reads; put sources where all workers see them"
    _kept.add(terms)
    return ""


def appears(path: Path, seconds: float) -> bool:
    """Return whether a file or folder is there, or is seen in time: another machine may have made it a moment ago.

    Network file systems remember for a while that a name was not there, until the folder that it is in is read anew.
    """
    until = time.monotonic() + seconds
    while not os.path.lexists(path):
        if time.monotonic() > until:
            return False
        with contextlib.suppress(OSError):
            os.listdir(path.parent)  # noqa: PTH208  # for what it does
        time.sleep(0.1)
    return True


def _sees(probe: Path, token: str) -> bool:
    """Return whether a file holds what it should."""
    until = time.monotonic() + SEEN_SECONDS
    while True:
        try:
            if probe.read_text(encoding="utf-8") == token:
                return True
        except OSError:
            pass
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
