"""Figure: a drawing, the words under it, and the table behind it."""

from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd
from markupsafe import Markup

from corpuscle.core.csv_text import csv_text
from corpuscle.report.drawing.svg import Drawing


@dataclass(frozen=True)
class Figure:
    """A figure of the report.

    Attributes
    ----------
    stem
        File name without its ending; the SVG and the CSV share it.
    title, caption
        What is shown, and how to read it.
    drawing
        The figure itself.
    data
        Everything that is drawn, before anything was left out for legibility.
    """

    stem: str
    title: str
    caption: str
    drawing: Drawing
    data: pd.DataFrame = field(repr=False)

    @cached_property
    def csv(self) -> str:
        """The table behind it as CSV."""
        return csv_text(self.data)

    @property
    def inline(self) -> Markup:
        """The drawing for a page; all text inside was escaped when it was drawn."""
        return Markup(self.drawing.render(inline=True))
