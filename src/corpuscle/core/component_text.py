"""What a component is and what its parameters mean, from its docstring: one text for terminal, site and JSON schema."""

import inspect
import re
import sys
from dataclasses import is_dataclass
from typing import Any

# A parameter that a family of components shares is explained once, in the family's class.
_SEE = re.compile(r"(?:.*; )?[Ss]ee `(\w+)`\.")
_SECTION = re.compile(r"^\w[\w ]*\n-{3,}$", re.MULTILINE)


def summary(cls: type) -> str:
    """Return what a component is, without its parameters and examples."""
    text = inspect.cleandoc(cls.__doc__ or "")
    first = _SECTION.search(text)
    return text[: first.start() if first else None].strip()


def meanings(cls: type) -> dict[str, str]:
    r"""Return what each parameter of a component means, in the order of its docstring.

    What a class only refers to another one for is that class' text.

    Examples
    --------
    >>> class Family:
    ...     '''A family.
    ...
    ...     Parameters
    ...     ----------
    ...     width, depth
    ...         How many units,
    ...         and layers.
    ...     '''
    >>> class Member(Family):
    ...     '''A member.
    ...
    ...     Parameters
    ...     ----------
    ...     seed
    ...         Where chance begins.
    ...     width
    ...         See `Family`.
    ...     '''
    >>> meanings(Member)
    {'seed': 'Where chance begins.', 'width': 'How many units, and layers.'}
    """
    found = _parameters(inspect.cleandoc(cls.__doc__ or ""))
    for name, text in found.items():
        if (only := _SEE.fullmatch(text)) and (other := _class_of(only[1], cls)) is not None:
            # A family may be one of a larger family.
            known = (meanings(one) for one in other.__mro__)
            found[name] = next((one[name] for one in known if name in one), text)
    return found


def _class_of(name: str, cls: type) -> type | None:
    """Return the class that a docstring of this package refers to: a base, or what is imported by then."""
    for base in cls.__mro__[1:]:
        if base.__name__ == name:
            return base
    package = cls.__module__.partition(".")[0]
    modules = [module for at, module in sys.modules.items() if at.partition(".")[0] == package]
    found = (getattr(module, name, None) for module in modules)
    return next((one for one in found if isinstance(one, type) and one is not cls), None)


def parameters(cls: type) -> dict[str, str]:
    """Return each parameter of a component with its default, as a study file would have it: ``n_latent = 10``.

    Examples
    --------
    >>> from corpuscle.corpus.alterations.thin import Thin
    >>> parameters(Thin)
    {'keep': 'keep (required)', 'where': 'where = None'}
    """
    found = {}
    for name, info in cls.__pydantic_fields__.items():  # type: ignore[attr-defined]  # by @component
        default = None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})
        found[name] = f"{name} (required)" if info.is_required() else f"{name} = {_plain(default)!r}"
    return found


def _plain(value: Any) -> Any:
    """Return a default as plain data: a table of settings as a dictionary, what is not set left out."""
    if not is_dataclass(value):
        return value
    return {key: _plain(part) for key, part in vars(value).items() if part is not None}


def examples(cls: type) -> str:
    """Return a component's examples; empty where it has none."""
    return _section(cls, "Examples")


def references(cls: type) -> str:
    """Return what a component follows, as its docstring has it; empty where it names nothing.

    Examples
    --------
    >>> from corpuscle.corpus.alterations.ambient import Ambient
    >>> references(Ambient)
    "Young and Behjati 2020, GigaScience 9:giaa151 (SoupX): ambient RNA as a mixture with a batch's profile."
    """
    return _section(cls, "References")


def _section(cls: type, title: str) -> str:
    _, _, text = inspect.cleandoc(cls.__doc__ or "").partition(f"\n{title}\n{'-' * len(title)}\n")
    following = _SECTION.search(text)
    return text[: following.start() if following else None].strip()


def _parameters(docstring: str) -> dict[str, str]:
    _, _, section = docstring.partition("Parameters\n----------\n")
    found: dict[str, Any] = {}
    names: list[str] = []
    lines: list[str] = []
    for line in [*section.splitlines(), "End", "---"]:
        if line.startswith(" ") or not line:
            lines.append(line.strip())
            continue
        if line.startswith("---"):
            break
        found |= dict.fromkeys(names, "\n".join(lines).strip())
        names, lines = [name.strip() for name in line.split(",")], []
    return {name: " ".join(text.split()) for name, text in found.items()}
