"""Translate a ``where`` into TileDB-SOMA's ``value_filter``, as far as both mean the same: cells are left out early.

The two differ in what is missing (``!=`` and ``not in`` match it in a ``where``, never in TileDB) and in what may be
compared. Where it is not sure that TileDB would keep every cell that matches, a condition is left to the caller.
"""

import ast
from collections.abc import Sequence
from typing import Any

import numpy as np

from corpuscle.core.text import is_missing

_TEXTS = ("string", "large_string")
_NEGATED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE}
_WRITTEN: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.In: "in",
    ast.NotIn: "not in",
}  # fmt: skip


def value_filter(where: ast.expr, schema: Any) -> str | None:
    """Write a value_filter that every cell passes which a filter matches; None where nothing can be left out.

    Parameters
    ----------
    where
        The filter, from `corpuscle.source.cell_filter.parse`.
    schema
        The Arrow schema of obs.

    Examples
    --------
    >>> import pyarrow
    >>> from corpuscle.source.cell_filter import parse
    >>> schema = pyarrow.schema([("tissue", pyarrow.string()), ("n", pyarrow.int64())])
    >>> value_filter(parse("not (n < 5 or tissue not in ['lung']) and tissue != 'gut'"), schema)
    "attr('tissue') in ['lung']"
    """
    return _condition(where, schema, negated=False)


def _condition(node: ast.expr, schema: Any, *, negated: bool) -> str | None:
    match node:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _condition(operand, schema, negated=not negated)
        case ast.BoolOp(op=op, values=values):
            parts = [_condition(value, schema, negated=negated) for value in values]
            return _joined(parts, all_hold=isinstance(op, ast.And) != negated)
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            sides = [left, *comparators]
            pairs = zip(sides[:-1], ops, sides[1:], strict=True)
            parts = [_comparison(one, type(op), other, schema, negated=negated) for one, op, other in pairs]
            return _joined(parts, all_hold=not negated)
        case ast.Name():
            return _comparison(node, ast.Eq, ast.Constant(value=True), schema, negated=negated)
    return None


def _joined(parts: Sequence[str | None], *, all_hold: bool) -> str | None:
    """Join conditions. Of several that must all hold one may be left out; of alternatives none."""
    known = [part for part in parts if part is not None]
    if not known or (len(known) < len(parts) and not all_hold):
        return None
    return known[0] if len(known) == 1 else "(" + (" and " if all_hold else " or ").join(known) + ")"


def _comparison(left: ast.expr, op: type[ast.cmpop], right: ast.expr, schema: Any, *, negated: bool) -> str | None:
    if isinstance(right, ast.Name) and not isinstance(left, ast.Name):
        left, right, op = right, left, _TURNED.get(op, op)
    if not isinstance(left, ast.Name) or isinstance(right, ast.Name) or left.id not in schema.names:
        return None
    field = schema.field(left.id)
    matches_missing = (op in (ast.NotEq, ast.NotIn)) != negated
    op = _NEGATED[op] if negated else op
    values = ast.literal_eval(right)
    listed = list(values) if isinstance(values, list | tuple) else [values]
    written = [_value(value, field.type, op) for value in listed]
    # A floating NaN is missing in a where, and a number in TileDB; "NA" and the like are missing, and texts in TileDB,
    # where they are unequal to others as in a where, but come before or after them.
    is_ordering = op not in (ast.Eq, ast.NotEq, ast.In, ast.NotIn)
    may_miss = field.nullable or str(field.type) in ("float", "double", "halffloat")
    may_miss = may_miss or (is_ordering and _type_name(field.type) in _TEXTS)
    if (matches_missing and may_miss) or not written or None in written:
        return None
    if op in (ast.In, ast.NotIn) and not isinstance(listed[0], str):
        # TileDB-SOMA knows no lists of truth values, of negative numbers, or for some types of numbers.
        single = ast.Eq if op is ast.In else ast.NotEq
        return _joined([f"attr({left.id!r}) {_WRITTEN[single]} {value}" for value in written], all_hold=op is ast.NotIn)
    value = f"[{', '.join(map(str, written))}]" if isinstance(values, list | tuple) else written[0]
    return f"attr({left.id!r}) {_WRITTEN[op]} {value}"


def _value(value: Any, kind: Any, op: type[ast.cmpop]) -> str | None:
    """Write a constant, if it is compared with such a column as in a ``where``."""
    is_dictionary = hasattr(kind, "value_type")
    # TileDB compares the places of categories, not their texts.
    if is_dictionary and op not in (ast.Eq, ast.NotEq, ast.In, ast.NotIn):
        return None
    name = _type_name(kind)
    if name in _TEXTS:
        return repr(value) if isinstance(value, str) and not is_missing(value) else None
    if isinstance(value, str):
        return None
    if name == "bool":
        return repr(bool(value)) if value in (0, 1) else None
    if name in ("float", "double"):
        return repr(value)
    is_whole = isinstance(value, int) and name.removeprefix("u").startswith("int")
    return repr(int(value)) if is_whole and np.can_cast(np.min_scalar_type(value), name) else None


def _type_name(kind: Any) -> str:
    """Return a type's name; of a dictionary, its values'."""
    return str(kind.value_type if hasattr(kind, "value_type") else kind)
