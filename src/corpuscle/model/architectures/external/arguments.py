"""Arguments: a command as a study gives it, a list of texts with placeholders; no shell ever reads it."""

import re
import shlex
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from corpuscle.core.components import legal_names
from corpuscle.core.errors import ModelError

# What Corpuscle gives a command: the cells' file, the file that it is to write, the folder of a fitted model, the
# folder that it runs in, and the seed.
CELLS, EMBEDDING, MODEL, WORK, SEED = "cells", "embedding", "model", "work", "seed"
GIVEN = (CELLS, EMBEDDING, MODEL, WORK, SEED)
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def arguments(command: Any) -> Any:
    """Return a command as a list: a text is split as a shell would, with quotes, and nothing else of a shell.

    Examples
    --------
    >>> arguments("python 'my script.py' {cells}")
    ['python', 'my script.py', '{cells}']
    """
    if isinstance(command, str):
        command = shlex.split(command)
    if not isinstance(command, list | tuple) or not all(isinstance(part, str) for part in command):
        raise ValueError("should be a command: a text, or a list of texts")
    if not command or not command[0]:
        raise ValueError("should begin with a program")
    if any("\0" in part for part in command):
        raise ValueError("has a null character, which no argument can have")
    return list(command)


def placeholders(command: Sequence[str]) -> set[str]:
    """Return the names that stand in braces in a command.

    Examples
    --------
    >>> sorted(placeholders(["python", "-x", "{cells}:/data", '{"json": 1}']))
    ['cells']
    """
    return {name for part in command for name in _PLACEHOLDER.findall(part)}


def refuse_placeholders(command: Sequence[str], key: str, legal: Collection[str], needed: Collection[str]) -> None:
    """Refuse a command with a placeholder that means nothing there, or without one that it needs.

    What is in the working folder needs no placeholder of its own where the folder has one.

    Raises
    ------
    ValueError
        When it is one.
    """
    found = placeholders(command)
    for name in sorted(found - {*legal}):
        raise ValueError(f"{key}: {{{name}}} means nothing here; {legal_names(name, legal)}")
    for name in needed:
        if name not in found and not (WORK in found and name in (CELLS, EMBEDDING)):
            raise ValueError(f"{key}: should have {{{name}}} in it; the placeholders are {', '.join(legal)}")


def filled(command: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Return a command with what its placeholders stand for; each argument stays one, whatever is put into it.

    Examples
    --------
    >>> filled(["python", "run.py", "--in={cells}"], {"cells": "/my data/cells.h5ad"})
    ['python', 'run.py', '--in=/my data/cells.h5ad']
    """
    return [_PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), part) for part in command]


def shown(command: Sequence[str]) -> str:
    """Return a command as one would type it; placeholders are not quoted."""
    return " ".join(part if _PLACEHOLDER.fullmatch(part) else shlex.quote(part) for part in command)


def refuse_missing_program(program: str, path: str | None) -> None:
    """Refuse a program that cannot be found, or not be run.

    Parameters
    ----------
    program
        Its name or path.
    path
        The folders that it is looked for in, as ``PATH`` has them; None: those of this process.

    Raises
    ------
    ModelError
        When there is no such program.
    """
    is_path = Path(program).name != program
    if is_path and not Path(program).is_absolute():
        raise ModelError(
            f"the program {program!r} is a relative path, and a command runs in a folder of its own; give its whole "
            "path, or name the file in files and write its name in braces"
        )
    if shutil.which(program, path=path) is None:
        looked = "it is not there, or may not be executed" if is_path else "no folder of PATH has it"
        raise ModelError(f"the program {program!r} cannot be found: {looked}; install it, or give its whole path")
