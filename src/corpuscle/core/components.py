"""Find a component by its name; its name is that of its file or folder.

Everything that a study file can name is a frozen dataclass in a file or a folder of its own: a sampler, a model, a
task. There is no registry: the folder is the list. A user's own component is named ``"package.module:Class"``; what an
installed package offers as an entry point, such as ``[project.entry-points."corpuscle.models"]``, by the name there.
"""

import contextlib
import dataclasses
import difflib
import importlib
import inspect
import multiprocessing
import os
import pkgutil
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, time
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar, dataclass_transform, get_args, get_type_hints

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass as validated_dataclass

from corpuscle.core.code_version import code_version
from corpuscle.core.disk import FULL, refusal
from corpuscle.core.errors import BrokenComponentError, ComponentError, CorpuscleError
from corpuscle.core.text import shortened

T = TypeVar("T")
C = TypeVar("C", bound="Component")

_PACKAGE = Path(__file__).parents[1]
_EXIT = os._exit
# Legal names that a message lists and that a wrong one is compared with, and the longest of either: a table may have
# thousands of columns.
_LISTED, _COMPARED, _LONGEST = 60, 5_000, 100

# No whole number in a study is larger: beyond it lie slips of the finger, and then what 64 bits do not hold. A field
# that something is allocated by has a bound of its own.
MOST = 1_000_000_000_000
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def component(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass whose fields are checked when it is constructed.

    Fields are keyword-only; a wrong type, an unknown name or a value out of bounds raises pydantic's
    ``ValidationError``.

    Examples
    --------
    >>> from typing import Annotated
    >>> from pydantic import Field
    >>> @component
    ... class Thinned(Component):
    ...     keep: Annotated[float, Field(gt=0, le=1)] = 0.5
    >>> Thinned(keep=0.1)
    Thinned(keep=0.1)
    """
    return validated_dataclass(cls, frozen=True, kw_only=True, config=STRICT)  # type: ignore[return-value]


class Component:
    """Base of everything that a study file can name. A kind sets `home`, the package that holds its built-ins.

    `version` is raised when the code of a component gives another result for the same settings and cells;
    `shared_version`, which a kind sets, when code that all of its components use does.
    """

    home: ClassVar[str] = ""
    kind: ClassVar[str] = "component"
    version: ClassVar[int] = 1
    shared_version: ClassVar[int] = 1
    # Parameters that name files or folders, in a study file relative to it: a path, or a list or table of paths.
    path_fields: ClassVar[tuple[str, ...]] = ()

    @property
    def name(self) -> str:
        """The name that finds it again: that of its file or folder, or ``module:Class`` where it is not in its home."""
        module = type(self).__module__
        inside = module.removeprefix(f"{self.home}.") if module.startswith(f"{self.home}.") else ""
        # A folder's class may be in any of its files.
        return inside.partition(".")[0] or f"{module}:{type(self).__qualname__}"

    @classmethod
    def located(cls, parameters: Mapping[str, Any], locate: Callable[[Any], Any]) -> dict[str, Any]:
        """Return parameters with `path_fields`, and those of components within, as `locate` has them."""
        return {**parameters, **{key: locate(parameters[key]) for key in cls.path_fields if key in parameters}}

    def spec(self) -> dict[str, Any]:
        """Name and parameters as plain data: enough to build an equal component."""
        return {"name": self.name, **dataclasses.asdict(self)}  # type: ignore[call-overload]  # by @component

    @property
    def code_version(self) -> str:
        """What differs where its code, or that of its kind, gives other results; see `corpuscle.core.code_version`."""
        return f"{self.shared_version}.{code_version(type(self))}"

    @property
    def uses(self) -> "tuple[Component, ...]":
        """Other components that it works with, so that it depends on their code, too."""
        return ()

    def identity(self) -> list[Any]:
        """Return plain data that differ where its settings, its code or that of what it uses do; for fingerprints."""
        return [self.spec(), self.code_version, [used.identity() for used in self.uses]]


def names(kind: type[Component]) -> list[str]:
    """List the built-ins of a kind: the modules and packages of its folder, sorted.

    Examples
    --------
    >>> from corpuscle.corpus.sampler import Sampler
    >>> "uniform" in names(Sampler)
    True
    """
    package = importlib.import_module(kind.home)
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def installed(kind: type[Component]) -> Mapping[str, str]:
    """Return what other packages offer of a kind, by name: ``module:Class``. A built-in's name stays its own."""
    own = names(kind)
    return {name: place for name, place in _offered(f"corpuscle.{kind.kind}s").items() if name not in own}


@cache
def _offered(group: str) -> Mapping[str, str]:
    return {one.name: one.value for one in sorted(entry_points(group=group), key=lambda one: one.name)}


def find(kind: type[C], name: str) -> type[C]:
    """Return the class of the component of this kind with this name.

    Parameters
    ----------
    kind
        What to look for, such as ``Sampler``.
    name
        A built-in's file name, the name of an installed one, or ``"package.module:Class"`` for any other.

    Raises
    ------
    ComponentError
        When there is none; the message lists the legal names and the nearest one.
    """
    if ":" in name:
        return _find_elsewhere(kind, name)
    if place := installed(kind).get(name):
        return _find_elsewhere(kind, place)
    return _find_built_in(kind, name)  # type: ignore[arg-type]  # a class is hashable


# A study may name one component ten thousand times, and to list a folder takes longer than to build one.
@cache
def _find_built_in(kind: type[C], name: str) -> type[C]:
    legal = names(kind)
    if name not in legal:
        raise ComponentError(f"there is no {kind.kind} {name!r}; {legal_names(name, [*legal, *installed(kind)])}")
    module = importlib.import_module(f"{kind.home}.{name}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, kind) and _is_in(value, module.__name__)
    ]
    if len(found) != 1:
        raise ComponentError(f"{module.__name__} must define exactly one {kind.__name__}, it defines {len(found)}")
    return found[0]


def _is_in(cls: type, module: str) -> bool:
    """Return whether a class is defined in a module, or in one of a package's own."""
    return f"{cls.__module__}.".startswith(f"{module}.")


def _find_elsewhere(kind: type[C], name: str) -> type[C]:
    module_name, _, class_name = name.partition(":")
    try:
        # A user's module runs when it is imported: it can fail in any way, and what it prints is no result of ours.
        with contextlib.redirect_stdout(sys.stderr), _no_exit():
            module = importlib.import_module(module_name)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and multiprocessing.parent_process() is None:
            raise
        raise ComponentError(f"{kind.kind} {name!r}: cannot import {module_name!r} ({_gist(error)})") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise ComponentError(f"{name!r} is not a {kind.kind}: {class_name} must be a subclass of {kind.__name__}")
    if inspect.isabstract(found) or not dataclasses.is_dataclass(found):
        raise ComponentError(
            f"{name!r} is not complete: give {class_name} all of {kind.__name__}'s methods, and @component"
        )
    return found


@contextmanager
def guarded(owner: object) -> Iterator[None]:
    """Let code of a component run; what it may not do ends in one message that names it and the line.

    That is to end the process, for any component, and to raise errors that are no messages for people, for one from
    elsewhere: in a built-in, these are bugs of this package and pass.

    Parameters
    ----------
    owner
        Whose code runs: a component, its class, or what it made.

    Raises
    ------
    BrokenComponentError
        When it did what it may not do.

    Examples
    --------
    >>> class Quitter(Component):
    ...     def choose(self):
    ...         raise SystemExit(3)
    >>> with guarded(Quitter()):
    ...     Quitter().choose()
    Traceback (most recent call last):
    corpuscle.core.errors.BrokenComponentError: component '...:Quitter' failed: it called sys.exit(3) (...)
    """
    cls = owner if isinstance(owner, type) else type(owner)
    try:
        with _warnings_after(), _no_exit():
            yield
    except (CorpuscleError, ValidationError):
        raise
    except BaseException as error:
        if isinstance(error, Exception) and (cls.__module__.startswith("corpuscle.") or refusal(error) in FULL):
            raise
        # Ctrl-C is for the parent process alone: in a worker, a component raised it.
        if isinstance(error, KeyboardInterrupt) and multiprocessing.parent_process() is None:
            raise
        what = owner.name if isinstance(owner, Component) else f"{cls.__module__}:{cls.__qualname__}"
        kind = f"{cls.kind} " if issubclass(cls, Component) else ""
        raise BrokenComponentError(f"{kind}{what!r} failed: {_gist(error)} ({_line(error, cls.__module__)})") from error


@contextmanager
def _no_exit() -> Iterator[None]:
    """Let `os._exit` be an error in this process, unless it is a worker, whose end is seen: not the end of a command.

    A command that was ended so would not even say so: its exit code may be 0.
    """
    if multiprocessing.parent_process() is not None:
        yield
        return
    own = os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != own:
            _EXIT(status)
        raise RuntimeError(f"it called os._exit({status})")

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = _EXIT


@contextmanager
def _warnings_after() -> Iterator[None]:
    """Show the warnings of a block when it ends; not where it fails, as the error says what is wrong."""
    held: list[Any] = []
    with warnings.catch_warnings():
        show = warnings.showwarning
        warnings.showwarning = lambda *warning: held.append(warning)
        yield
    for warning in held:
        show(*warning)


def _gist(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it called sys.exit({'' if error.code is None else repr(error.code)})"
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # its own text may fail, too
        return type(error).__name__


def _line(error: BaseException, module: str) -> str:
    """Return the last line that an error went through in a module or in other code of the user's; else its last."""
    own = getattr(sys.modules.get(module), "__file__", None)
    libraries = (*(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")), str(_PACKAGE))
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if frame.filename == own or not frame.filename.startswith(libraries)]
    last = [*frames, *users][-1]
    return f"{Path(last.filename).name}, line {last.lineno}"


def build(kind: type[C], name: str, parameters: Mapping[str, Any]) -> C:
    """Construct the component with this name and these parameters.

    Raises
    ------
    ComponentError
        When the name, a parameter's name or its value is not legal; the message names the legal ones.

    Examples
    --------
    >>> from corpuscle.corpus.sampler import Sampler
    >>> build(Sampler, "label_balanced", {"by": "donor"})
    LabelBalanced(by='donor', ...)
    >>> build(Sampler, "unifrom", {})
    Traceback (most recent call last):
    corpuscle.core.errors.ComponentError: there is no sampler 'unifrom'; did you mean 'uniform'? ...
    """
    return construct(find(kind, name), parameters, f"{kind.kind} {name!r}: ")


def construct(cls: type[T], parameters: Mapping[str, Any], prefix: str = "", also: Iterable[str] = ()) -> T:
    """Construct a validated dataclass from a table, or say everything that is wrong with the table.

    Parameters
    ----------
    cls
        The dataclass.
    parameters
        The table.
    prefix
        What messages start with.
    also
        Keys that are legal in the table but no parameters; they are not in `parameters`, but may have been meant.

    Raises
    ------
    ComponentError
        With each fault and its path in the table.
    """
    if huge := list(_huge(parameters)):
        faults = [(path, f"{prefix}{_last_name(path)} should be at most {MOST:,} (it is larger)") for path in huge]
        raise ComponentError("; ".join(message for _, message in faults), faults)
    try:
        with guarded(cls):
            return cls(**parameters)
    except ValidationError as error:
        faults = [
            (
                detail["loc"] if detail["loc"] and detail["loc"][0] in parameters else (),
                prefix + explain(detail, [*(() if detail["loc"][1:] else also), *_fields(cls, detail["loc"][:-1])]),
            )
            for detail in error.errors()
        ]
        raise ComponentError("; ".join(message for _, message in faults), faults) from error


def _huge(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Find the whole numbers of a table that are beyond all sense, at whatever depth; booleans are none."""
    if isinstance(value, int) and abs(value) > MOST:
        yield path
    elif isinstance(value, Mapping | list | tuple):
        for key, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _huge(part, (*path, key))


def _last_name(path: tuple[str | int, ...]) -> str:
    return next((part for part in reversed(path) if isinstance(part, str)), "a number")


def _fields(cls: Any, path: Iterable[str | int]) -> list[str]:
    """List the fields of a dataclass, or of the one that is at a path in it."""
    for part in path:
        hint = get_type_hints(cls).get(str(part))
        cls = next((kind for kind in (hint, *get_args(hint)) if dataclasses.is_dataclass(kind)), cls)
    return [field.name for field in dataclasses.fields(cls)]


_EXPECTED = {
    "bool_type": "should be true or false",
    "dataclass_exact_type": "should be a table, such as { key = value }",
    "dataclass_type": "should be a table, such as { key = value }",
    "dict_type": "should be a table, such as { key = value }",
    "float_type": "should be a number",
    "int_from_float": "should be a whole number",
    "int_type": "should be a whole number",
    "list_type": "should be a list, such as [1, 2]",
    "model_type": "should be a table, such as { key = value }",
    "string_too_short": "should not be empty",
    "string_type": "should be a text, in quotes",
    "too_short": "should not be empty",
}


def in_words(error: Exception) -> str:
    """Return in one sentence what a refused value is refused for, without what pydantic writes around it.

    Examples
    --------
    >>> @component
    ... class Share:
    ...     keep: float
    >>> try:
    ...     Share(keep="half")
    ... except ValueError as error:
    ...     in_words(error)
    "keep should be a number (it is 'half')"
    """
    return explain(error.errors()[0], ()) if isinstance(error, ValidationError) else str(error)


def explain(error: Any, legal: Iterable[str]) -> str:
    """Return in a sentence what one pydantic error means: what was expected, what came, and the nearest legal name."""
    field = str(error["loc"][-1]) if error["loc"] and isinstance(error["loc"][-1], str) else ""
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"there is no {field!r} here; {legal_names(field, legal)}"
    if error["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{field!r} is required and missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] != "value_error":
        message = _EXPECTED.get(error["type"], message.replace("Input should", "should", 1))
    came = repr(error["input"]) if isinstance(error["input"], str | int | float | bool | date | time) else ""
    came = f" (it is {came[:80]}{'…' if len(came) > 80 else ''})" if came else ""
    return f"{field} {message}{came}" if field and message.startswith("should") else f"{message}{came}"


def legal_names(wrong: str, legal: Iterable[str]) -> str:
    """Name the nearest legal name, if one is near, and all of them.

    Examples
    --------
    >>> legal_names("sede", ["name", "seeds"])
    "did you mean 'seeds'? Legal here: name, seeds"
    """
    legal = list(legal)
    lowered = {name.lower(): name for name in legal[:_COMPARED] if len(name) <= _LONGEST}
    near = difflib.get_close_matches(wrong.lower(), list(lowered), n=1, cutoff=0.5) if len(wrong) <= _LONGEST else []
    hint = f"did you mean {lowered[near[0]]!r}? " if near else ""
    more = f", and {len(legal) - _LISTED:,} more" if len(legal) > _LISTED else ""
    listed = ", ".join(shortened(name, _LONGEST) for name in legal[:_LISTED])
    return f"{hint}Legal here: {listed or 'nothing'}{more}"
