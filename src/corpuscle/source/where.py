"""``where``: a safe filter on a cell table's columns, such as ``cell_type in ['B', 'NK'] and n_counts >= 500``.

The expression is parsed, never evaluated as code: comparisons, ``in``, ``and``, ``or``, ``not``, columns, constants
and lists are all there is. A column whose name is not an identifier is written in backticks: ```cell type` == 'B'``.
"""

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.components import legal_names
from corpuscle.core.errors import SourceError

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_HELP = "a where holds comparisons, in, and, or, not, on columns, numbers, texts and [lists] only"


def parse(expression: str) -> ast.expr:
    """Parse an expression and refuse all that is not a filter; needs no table.

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
    quoted: dict[str, str] = {}

    def placeholder(match: re.Match[str]) -> str:
        quoted[name := f"_quoted_{len(quoted)}_"] = match[1]
        return name

    try:
        tree = ast.parse(re.sub(r"`([^`]+)`", placeholder, expression.strip()), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SourceError(f'where "{expression}": not an expression ({error}); {_HELP}') from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = quoted.get(node.id, node.id)
        if not _allowed(node):
            article = f"a {type(node).__name__.lower()}"
            raise SourceError(f'where "{expression}": {article} is not allowed; {_HELP}')
    return tree.body


def _allowed(node: ast.AST) -> bool:
    plain = (
        ast.Expression,
        ast.Compare,
        ast.BoolOp,
        ast.And,
        ast.Or,
        ast.Name,
        ast.Load,
        ast.List,
        ast.Tuple,
    )
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not | ast.USub)
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str | int | float | bool)
    return isinstance(node, (*plain, *_COMPARE, ast.In, ast.NotIn, ast.Not, ast.USub))


def columns(expression: str) -> set[str]:
    """Name the columns that an expression uses.

    Examples
    --------
    >>> sorted(columns("tissue == 'blood' and not `cell type` in ['B']"))
    ['cell type', 'tissue']
    """
    return {node.id for node in ast.walk(parse(expression)) if isinstance(node, ast.Name)}


def matches(expression: str, table: pd.DataFrame) -> NDArray[np.bool_]:
    """Say which rows of a table match.

    A missing value matches no comparison but ``!=`` and ``not in``.

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
            raise SourceError(f'where "{expression}": there is no column {name!r}; {hint}')
    try:
        found = _evaluate(tree, table)
    except TypeError as error:
        raise SourceError(f'where "{expression}": {error}; quote texts, do not quote numbers') from None
    found = np.asarray(found)
    if found.dtype != bool or found.shape != (len(table),):
        raise SourceError(f'where "{expression}": this is not a comparison; write, say, column == value')
    return found


def _evaluate(node: ast.expr, table: pd.DataFrame) -> Any:  # noqa: PLR0911  # one return a kind of node
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return _column(table[name])
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [_evaluate(element, table) for element in elements]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, table)
        case ast.UnaryOp(operand=operand):
            return ~_truth(_evaluate(operand, table))
        case ast.BoolOp(op=op, values=values):
            combine = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return combine.reduce([_truth(_evaluate(value, table)) for value in values])
        case ast.Compare():
            return _compare(node, table)
    raise AssertionError(f"parse let a {type(node).__name__} through")


def _truth(value: Any) -> NDArray[np.bool_]:
    """Refuse to take numbers or texts for truth values."""
    if not (isinstance(value, np.ndarray) and value.dtype == bool):
        raise TypeError("and, or and not need comparisons, or columns of true and false, on both sides")
    return value


def _compare(node: ast.Compare, table: pd.DataFrame) -> Any:
    """Evaluate a chain such as ``1 < n <= 5``."""
    results, left = [], _evaluate(node.left, table)
    for op, right_node in zip(node.ops, node.comparators, strict=True):
        right = _evaluate(right_node, table)
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, list) or isinstance(left, list):
                raise TypeError("in needs a column on its left and a [list] on its right")
            found = pd.Series(left).isin(right).to_numpy()
            results.append(~found if isinstance(op, ast.NotIn) else found)
        else:
            results.append(_compared(op, left, right))
        left = right
    return np.logical_and.reduce(results)


def _compared(op: ast.cmpop, left: Any, right: Any) -> NDArray[np.bool_]:
    """Compare two columns, or a column and a constant; texts with texts and numbers with numbers only."""
    kinds = {_kind(side) for side in (left, right)}
    if len(kinds) > 1:
        raise TypeError(f"a {' and a '.join(sorted(kinds))} cannot be compared")
    arrays = [side for side in (left, right) if isinstance(side, np.ndarray)]
    if not arrays:
        raise TypeError("a comparison needs a column on one side")
    missing = np.logical_or.reduce([np.asarray(pd.isna(side)) for side in arrays])
    compare = _COMPARE[type(op)]
    result = np.zeros(len(arrays[0]), bool)
    there = ~missing
    left, right = (side[there] if isinstance(side, np.ndarray) else side for side in (left, right))
    result[there] = np.asarray(compare(left, right), bool)
    return result | missing if isinstance(op, ast.NotEq) else result


def _kind(side: Any) -> str:
    if isinstance(side, np.ndarray):
        return "number" if side.dtype.kind in "biuf" else "text"
    if isinstance(side, list):
        return "list"
    return "text" if isinstance(side, str) else "number"


def _column(column: "pd.Series[Any]") -> Any:
    """Return a column as numbers, truth values, or objects holding texts."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if column.dtype.kind in "biuf":
        return column.to_numpy()
    return column.astype(object).to_numpy()
