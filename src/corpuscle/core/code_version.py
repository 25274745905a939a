"""Versions of code: what keeps results that other code gave from being taken for those of the code that is there now.

A result in the store is named after all that it depends on, and the code of a component is part of that. Built-ins
state a version, which is raised by hand; so can a component of a user's own, and where it does not, the hash of its
source files stands for one.
"""

import dataclasses
import inspect
import sys
from functools import cache
from pathlib import Path

from corpuscle.core.errors import ComponentError
from corpuscle.core.fingerprint import fingerprint, hash_file

_OURS = "corpuscle"


def code_version(cls: type) -> int | str:
    """Return what differs where a component's code gives other results than before.

    Parameters
    ----------
    cls
        The component's class, with a class attribute ``version``.

    Returns
    -------
    Its ``version``, for a built-in. For a class of the user's, the version that the built-in has which it extends, and
    the version that it states itself, or inherits from a class of the user's. Where there is none, the hash of the
    source files of all its classes that are not from this package: of its module or, where that is a package, of the
    folder.

    Raises
    ------
    ComponentError
        When a class without a version has no source that can be read.
    """
    own = [base for base in cls.__mro__ if _is_users(base)]
    version: int = getattr(cls, "version")  # noqa: B009  # a class of any kind
    if not own:
        return version
    extended = next((getattr(base, "version", 1) for base in cls.__mro__ if not _is_users(base)), 1)
    if any(_states_version(base) for base in own):
        return f"{extended}, stated {version}"
    return f"{extended}, source {fingerprint([_source_hash(base) for base in own])}"


def _is_users(cls: type) -> bool:
    top = cls.__module__.partition(".")[0]
    return (top != _OURS and top not in sys.stdlib_module_names) or top == "__main__"


def _states_version(cls: type) -> bool:
    # A library's class may have a version of its own that says nothing of the component's code.
    if not hasattr(cls, "shared_version"):
        return False
    is_setting = dataclasses.is_dataclass(cls) and any(field.name == "version" for field in dataclasses.fields(cls))
    return "version" in vars(cls) and not is_setting


def _source_hash(cls: type) -> str:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if file and Path(file).suffix == ".py" and Path(file).is_file():
        path = Path(file)
        # In a package, any of its files may be part of the component.
        files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
        facts = tuple((one, one.stat().st_size, one.stat().st_mtime_ns) for one in files)
        return _hash_of(facts)
    try:
        # A class of a notebook has no file, and its cell's text is known all the same.
        return fingerprint(inspect.getsource(cls))
    except (OSError, TypeError) as error:
        raise ComponentError(
            f"the source of {cls.__module__}:{cls.__qualname__} cannot be read, so that results of an earlier state of "
            "it could be taken for its own; state one in the class (version = 1), and raise it with each change"
        ) from error


@cache
def _hash_of(facts: tuple[tuple[Path, int, int], ...]) -> str:
    return fingerprint([hash_file(path) for path, _, _ in facts])
