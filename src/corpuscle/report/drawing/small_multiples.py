"""Small multiples: panels on a grid, each with its title, grid lines and tick labels."""

from collections.abc import Callable
from typing import NamedTuple

from corpuscle.report.drawing import svg
from corpuscle.report.drawing.svg import MUTED, PANEL, RULE, Drawing

WIDTH = 1120.0


class Axis(NamedTuple):
    """Where to put ticks, and how to place a value in pixels."""

    ticks: list[float]
    of: Callable[[float], float]


class Panels:
    """Places small multiples on a grid, up to four in a row, with room for axes and titles.

    Parameters
    ----------
    count
        How many panels.
    height
        Of each panel's plotting area, in pixels.
    left
        Room left of the first panel, in pixels.
    gap
        Room between panels, in pixels.

    Examples
    --------
    >>> panels = Panels(6, height=100)
    >>> panels.columns, panels.place(3)
    (3, (52.0, 202.0))
    """

    def __init__(self, count: int, *, height: float, left: float = 52.0, gap: float = 62.0) -> None:
        self.count = max(count, 1)
        self.columns = 3 if self.count in (5, 6, 9) else min(self.count, 4)
        self.left, self.gap, self.height, self.top = left, gap, height, 44.0
        free = WIDTH - left - 26 - gap * (self.columns - 1)
        self.width = min(420.0, free / self.columns)
        self.rows = -(-self.count // self.columns)
        self.total = self.top + self.rows * (height + 58) - 36

    def place(self, i: int) -> tuple[float, float]:
        """Top left corner of the i-th panel's plotting area."""
        row, column = divmod(i, self.columns)
        return self.left + column * (self.width + self.gap), self.top + row * (self.height + 58)

    def box(self, i: int) -> tuple[float, float, float, float]:
        """Return the i-th panel's plotting area: left, top, width and height."""
        return (*self.place(i), self.width, self.height)

    def frame(self, drawing: Drawing, i: int, title: str, across: Axis, up: Axis | None = None) -> None:
        """Draw the i-th panel's ground, grid, tick labels and title."""
        x, y = self.place(i)
        bottom = y + self.height
        drawing.add("rect", x=x, y=y, width=self.width, height=self.height, fill=PANEL)
        drawing.text(x, y - 8, svg.fitted(title, self.width, 12.5), font_size=12, font_weight=600)
        for value in up.ticks if up else []:
            at = up.of(value) if up else 0.0
            drawing.line(x, at, x + self.width, at)
            drawing.text(x - 6, at + 3.5, _tick(value), text_anchor="end", fill=MUTED, font_size=10)
        for value in across.ticks:
            at = across.of(value)
            drawing.line(at, bottom if up else y, at, bottom + 4, stroke=RULE)
            drawing.text(at, bottom + 16, _tick(value), text_anchor="middle", fill=MUTED, font_size=10)


def _tick(value: float) -> str:
    return f"{value:,.10g}".replace("-", "−")
