"""The page of the command line: each command's help, from the command itself."""

import inspect
from collections.abc import Iterator
from typing import Any

import typer.main

from corpuscle.cli import app


def command_line() -> str:
    """Return a section for each command, as Markdown."""
    return "\n\n".join(
        _section(f"corpuscle {name}", command) for name, command in _commands(typer.main.get_command(app))
    )


def _commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Find the commands of a group, and of the groups in it."""
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def _section(name: str, command: Any) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and one.name != "help"]
    usage = " ".join([name, *(["[OPTIONS]"] if options else []), *(_shown(one) for one in arguments)])
    rows = [(f"`{_shown(one)}`", one) for one in arguments] + [(f"`{_option(one)}`", one) for one in options]
    parts = [f"## `{name}`", inspect.cleandoc(command.help or ""), f"```console\n$ {usage}\n```"]
    if rows:
        parts.append("\n\n".join(f"{shown}\n: {_meaning(one)}" for shown, one in rows))
    return "\n\n".join(parts)


def _shown(argument: Any) -> str:
    text = str(argument.metavar or argument.name.upper())
    return text if argument.required or text.startswith("[") else f"[{text}]"


def _option(option: Any) -> str:
    value = "" if option.is_flag else f" {option.metavar or option.name.upper()}"
    return ", ".join(option.opts) + value


def _meaning(one: Any) -> str:
    """Return a parameter's help, whether it is required, and its default where that says anything."""
    text = str(one.help or "").strip()
    if one.required and one.param_type_name == "option":
        return f"{text} Required."
    says_something = one.default not in (None, "", False) and not callable(one.default) and not one.required
    return f"{text} Default: `{one.default}`." if says_something and "Default" not in text else text
