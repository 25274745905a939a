"""The templates of the pages."""

from collections.abc import Callable
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader

from corpuscle.report import numbers
from corpuscle.report.sections import gene_residuals


@cache
def environment() -> Environment:
    """Templates of this package, with everything escaped and nothing undefined let through."""
    environment = Environment(
        loader=PackageLoader("corpuscle.report.page", "."), autoescape=True,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    filters: dict[str, Callable[..., Any]] = {
        "number": numbers.number, "signed": numbers.signed, "percent": numbers.percent, "plural": numbers.plural,
        "gene_grid": gene_residuals.gene_grid, "letter": numbers.letter,
        "breakable": numbers.breakable,
    }  # fmt: skip
    environment.filters.update(filters)
    environment.globals.update(directions=numbers.DIRECTIONS, floor=gene_residuals.FLOOR)
    return environment
