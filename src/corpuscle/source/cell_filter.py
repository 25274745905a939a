"""``where``: a safe filter on a cell table's columns, such as ``cell_type in ['B', 'NK'] and n_counts >= 500``.

The expression is parsed, never evaluated as code: comparisons, ``in``, ``and``, ``or``, ``not``, columns, constants
and lists are all there is. A column whose name is not an identifier is written in backticks: ```cell type` == 'B'``.

Labels are texts (see `corpuscle.source.labels`). A column of texts that are all numbers, or all truth values, can be
compared with numbers or truth values, and is then read as such.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.components import legal_names
from corpuscle.core.errors import SourceError
from corpuscle.core.text import is_missing, shortened
from corpuscle.source.labels import as_labels, text_of

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_PLAIN = (
    ast.Expression, ast.Compare, ast.BoolOp, ast.And, ast.Or, ast.Not, ast.USub, ast.Name, ast.Load, ast.List,
    ast.Tuple, ast.In, ast.NotIn, *_COMPARE,
)  # fmt: skip
_HELP = "a where holds comparisons, in, and, or, not, on columns, numbers, texts and [lists] only"
# Texts come first, so that a backtick within one is a part of it. One that does not end is taken up to the end: to
# begin anew at each of its quotes would take minutes.
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'?|"(?:[^"\\]|\\.)*"?|`([^`]+)`""", re.DOTALL)
# Letters of a filter (a list of 50,000 barcodes has so many), and its comparisons, each of which takes a pass.
LONGEST, COMPARISONS = 1_000_000, 10_000


def parse(expression: str, names: Mapping[str, str] | None = None) -> ast.expr:
    """Parse an expression and refuse all that is not a filter; needs no table.

    Parameters
    ----------
    expression
        The filter.
    names
        What some columns are called in the tree that is returned, if not as in the expression.

    Raises
    ------
    SourceError
        When it is not an expression, or holds anything but what the module's text names.

    Examples
    --------
    >>> parse("__import__('os').system('true')")
    Traceback (most recent call last):
    corpuscle.core.errors.SourceError: where "...": a call is not allowed; a where holds comparisons, ...
    """
    if len(expression) > LONGEST:
        raise SourceError(f'where "{shortened(expression)}": has {len(expression):,} letters; {LONGEST:,} are enough')
    quoted: dict[str, str] = {}

    def placeholder(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        quoted[name := f"_quoted_{len(quoted)}_"] = match[1]
        return name

    try:
        tree = ast.parse(_QUOTED.sub(placeholder, expression.strip()), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        # Python's own message may quote the expression with placeholders in it: its gist is enough.
        gist = error.msg if isinstance(error, SyntaxError) else str(error)
        raise SourceError(f'where "{shortened(expression)}": not an expression ({gist}); {_HELP}') from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = quoted.get(node.id, node.id)
            node.id = (names or {}).get(node.id, node.id)
        if not _allowed(node):
            raise SourceError(f'where "{shortened(expression)}": {_named(node)} is not allowed; {_HELP}')
    n_comparisons = sum(len(node.ops) for node in ast.walk(tree) if isinstance(node, ast.Compare))
    if n_comparisons > COMPARISONS:
        raise SourceError(
            f'where "{shortened(expression)}": has {n_comparisons:,} comparisons; write column in [a list] '
            f"for what has more than {COMPARISONS:,}"
        )
    return tree.body


def _named(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return shortened(repr(node.value), 80)
    name = type(node).__name__.lower()
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _allowed(node: ast.AST) -> bool:
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not) or _is_negative(node)
    if isinstance(node, ast.List | ast.Tuple):
        return all(_is_constant(element, str | int | float) or _is_negative(element) for element in node.elts)
    return _is_constant(node, str | int | float) if isinstance(node, ast.Constant) else isinstance(node, _PLAIN)


def _is_negative(node: ast.AST) -> bool:
    """Return whether this is a negative number; a minus before a column would wrap around where it is unsigned."""
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and _is_constant(node.operand, int | float)


def _is_constant(node: ast.AST, kinds: Any) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, kinds)


def columns(expression: str) -> set[str]:
    """Name the columns that an expression uses.

    Examples
    --------
    >>> sorted(columns("tissue == 'blood' and not `cell type` in ['B']"))
    ['cell type', 'tissue']
    """
    return {node.id for node in ast.walk(parse(expression)) if isinstance(node, ast.Name)}


def compared(expression: str) -> set[tuple[str, str]]:
    """Return the columns that an expression compares with texts, and these.

    Examples
    --------
    >>> sorted(compared("cell_type in ['B', 'NK'] and donor != 'd1' and n_genes > 9"))
    [('cell_type', 'B'), ('cell_type', 'NK'), ('donor', 'd1')]
    """
    found = set[tuple[str, str]]()
    for node in ast.walk(parse(expression)):
        if isinstance(node, ast.Compare):
            parts = [*ast.walk(node)]
            texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            found |= {(part.id, text) for part in parts if isinstance(part, ast.Name) for text in texts}
    return found


def matches(expression: str, table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which rows of a table match.

    A missing value matches no comparison but ``!=`` and ``not in``, so ``donor == donor`` are the rows that have one. A
    text that stands for none, such as ``''`` or ``'NA'``, equals what is missing: ``donor != ''`` are these rows, too.

    Parameters
    ----------
    expression
        The filter.
    table
        n rows with named columns.

    Returns
    -------
    Boolean array of shape (n,).

    Raises
    ------
    SourceError
        When the expression is not legal, names no column, or compares what cannot be compared.

    Examples
    --------
    >>> table = pd.DataFrame({"cell_type": ["B", "NK", "Mono"], "n_counts": [900, 400, 700]})
    >>> matches("cell_type in ['B', 'NK'] and n_counts >= 500", table)
    array([ True, False, False])
    """
    tree = parse(expression)
    for name in sorted(columns(expression)):
        if name not in table:
            hint = legal_names(name, map(str, table.columns))
            raise SourceError(f'where "{shortened(expression)}": there is no column {shortened(name)!r}; {hint}')
    try:
        return _truth(_evaluate(tree, table))
    except TypeError as error:
        raise SourceError(f'where "{shortened(expression)}": {error}') from None
    except RecursionError:
        raise SourceError(f'where "{shortened(expression)}": nested too deeply; {_HELP}') from None


@dataclass(frozen=True)
class _Column:
    """A column's values; those that are `missing` are not looked at."""

    values: NDArray[Any]
    missing: NDArray[np.bool_]
    kind: str

    @classmethod
    def of(cls, column: "pd.Series[Any]") -> "_Column":
        """Take a column of any of pandas' types."""
        missing = column.isna().to_numpy(bool)
        if isinstance(column.dtype, pd.CategoricalDtype) and len(column.cat.categories):
            # Not astype: a category of numbers has no number for what is missing.
            categories = cls.of(pd.Series(column.cat.categories))
            if categories.kind != "text":
                return cls(categories.values[column.cat.codes.to_numpy()], missing, categories.kind)
        if column.dtype.kind == "b":
            return cls(column.to_numpy(bool, na_value=False), missing, "truth value")
        if column.dtype.kind in "iuf":
            values = (
                column.to_numpy(float, na_value=np.nan) if missing.any() else column.to_numpy(column.to_numpy().dtype)
            )
            return cls(values, missing, "number")
        labels = as_labels(column)
        codes = labels.cat.codes.to_numpy()
        return cls(np.append(labels.cat.categories.to_numpy(object), "")[codes], codes < 0, "text")

    def read(self) -> "_Column":
        """Return texts as the numbers or truth values that they are, where all are such; else the column as it is."""
        if self.kind != "text":
            return self
        there = ~self.missing
        code_n, texts = pd.factorize(self.values[there])
        for kind, convert in (("truth value", _truth_value), ("number", _number)):
            values = [convert(text) for text in texts]
            if values and None not in values:
                found = np.zeros(len(there), np.array(values).dtype)
                found[there] = np.array(values)[code_n]
                return _Column(found, self.missing, kind)
        return self


def _truth_value(text: str) -> bool | None:
    return {"True": True, "False": False}.get(text)


def _number(text: str) -> float | None:
    """Return a number whose text this is; None where it is none's: ``"01"`` is a name."""
    try:
        number = int(text) if text.removeprefix("-").isdigit() else float(text)
    except ValueError:
        return None
    return number if text_of(number) == text else None


def _evaluate(node: ast.expr, table: pd.DataFrame) -> Any:
    """Return a column, a constant, a list of constants, or which rows match."""
    match node:
        case ast.Name(id=name):
            return _Column.of(table[name])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return ~_truth(_evaluate(operand, table))
        case ast.BoolOp(op=op, values=values):
            combine = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return reduce(combine, (_truth(_evaluate(value, table)) for value in values))
        case ast.Compare():
            return _compare(node, table)
    # What parse let through and is none of these is a constant, a negative number or a list of them.
    return ast.literal_eval(node)


def _truth(value: Any) -> NDArray[np.bool_]:
    """Refuse to take numbers or texts for truth values; what is missing is not true."""
    if isinstance(value, _Column) and (read := value.read()).kind == "truth value":
        return read.values & ~read.missing
    if not isinstance(value, np.ndarray):
        raise TypeError("this is not a comparison; write, say, column == value, on both sides of and and or")
    return value


def _compare(node: ast.Compare, table: pd.DataFrame) -> NDArray[np.bool_]:
    """Evaluate a chain such as ``1 < n <= 5``."""
    results, left = [], _evaluate(node.left, table)
    for op, right_node in zip(node.ops, node.comparators, strict=True):
        right = _evaluate(right_node, table)
        is_in = isinstance(op, ast.In | ast.NotIn)
        results.append(_contained(op, left, right) if is_in else _compared(op, left, right))
        left = right
    found: NDArray[np.bool_] = np.logical_and.reduce(results)
    return found


def _contained(op: ast.cmpop, left: Any, right: Any) -> NDArray[np.bool_]:
    """Look a column's values up in a list."""
    if not isinstance(left, _Column) or not isinstance(right, list | tuple):
        raise TypeError("in needs a column on its left and a [list] on its right")
    left = _read_as(left, *right)
    for element in right:
        _refuse_mixed(left, element)
    found: NDArray[np.bool_] = pd.Series(left.values).isin([*right]).to_numpy() & ~left.missing
    if any(_is_missing(element) for element in right):
        found = found | left.missing
    return ~found if isinstance(op, ast.NotIn) else found


def _compared(op: ast.cmpop, left: Any, right: Any) -> NDArray[np.bool_]:
    """Compare two columns, or a column and a constant; texts with texts and numbers with numbers only."""
    left, right = _read_as(left, right), _read_as(right, left)
    _refuse_mixed(left, right)
    columns = [side for side in (left, right) if isinstance(side, _Column)]
    if not columns:
        raise TypeError("a comparison needs a column on one side")
    if any(_is_missing(side) for side in (left, right)):
        (column,), negated = columns, isinstance(op, ast.NotEq)
        return column.missing != negated if negated or isinstance(op, ast.Eq) else np.zeros(len(column.missing), bool)
    there = ~np.logical_or.reduce([column.missing for column in columns])
    result = np.full(len(there), isinstance(op, ast.NotEq))
    left, right = (side.values[there] if isinstance(side, _Column) else side for side in (left, right))
    result[there] = _COMPARE[type(op)](left, right)
    return result


def _read_as(side: Any, *others: Any) -> Any:
    """Return a column of texts as numbers or truth values, where it is compared with such and all of it is such."""
    is_plain = all(_kind(other) in ("number", "truth value") for other in others)
    return side.read() if isinstance(side, _Column) and others and is_plain else side


def _is_missing(side: Any) -> bool:
    """Return whether this is a constant that stands for what is missing."""
    return isinstance(side, str) and is_missing(side)


def _refuse_mixed(left: Any, right: Any) -> None:
    """Refuse what would silently be unequal; a truth value passes for 0 or 1, a column of nothing for anything."""
    if any(isinstance(side, _Column) and side.missing.all() for side in (left, right)):
        return
    kinds = {_kind(side) for side in (left, right)}
    if len(kinds - {"truth value", "number"}) + bool(kinds & {"truth value", "number"}) > 1:
        raise TypeError(f"a {' and a '.join(sorted(kinds))} cannot be compared; quote texts, do not quote numbers")


def _kind(side: Any) -> str:
    if isinstance(side, _Column):
        return side.kind
    if isinstance(side, np.ndarray):
        return "comparison"
    if isinstance(side, list | tuple):
        return "list"
    if isinstance(side, bool):
        return "truth value"
    return "text" if isinstance(side, str) else "number"
