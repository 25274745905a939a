"""The scores of one task as the page shows them, each heatmap with its figure."""

from dataclasses import dataclass
from typing import NamedTuple

from corpuscle.report import numbers
from corpuscle.report.drawing import score_figures
from corpuscle.report.drawing.figures import Figure
from corpuscle.report.sections.heatmaps import Heat, Sheet


class Names:
    """Hands out file stems, none twice."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def __call__(self, *parts: str) -> str:
        """Return a stem made of some parts."""
        return numbers.file_stem(*parts, used=self.used)


class Drawn(NamedTuple):
    """A heatmap and the figure of it."""

    heat: Heat
    figure: Figure


@dataclass(frozen=True)
class TaskScores:
    """What the page shows of one task's scores: see `Sheet`.

    Attributes
    ----------
    headline, more, units
        Its heatmaps.
    effects
        The fold changes of the headline metric with their intervals, a figure per model.
    """

    headline: Drawn
    more: list[Drawn]
    units: list[Drawn]
    effects: list[Figure]

    @classmethod
    def of(cls, sheet: Sheet, names: Names) -> "TaskScores":
        """Draw a sheet."""

        def drawn(heat: Heat, kind: str = "heatmap") -> Drawn:
            stem = names(f"{kind}-ways" if heat.ways else kind, heat.model or "models", heat.task, heat.metric)
            return Drawn(heat, score_figures.heatmap(heat, stem))

        return cls(
            drawn(sheet.headline),
            [drawn(heat) for heat in sheet.more],
            [drawn(heat, "heatmap-units") for heat in sheet.units],
            [
                score_figures.effects(heat, names("effects", heat.model, heat.task, heat.metric))
                for heat in sheet.alone
                if len(heat.corpora) > 1
            ],
        )

    @property
    def figures(self) -> list[Figure]:
        """All of its figures."""
        return [*(shown.figure for shown in (self.headline, *self.more, *self.units)), *self.effects]
