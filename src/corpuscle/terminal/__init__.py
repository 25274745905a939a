"""Display: what the command line shows, with rich. Texts from data are escaped: none is markup or a code."""

from corpuscle.terminal.listing import show_components
from corpuscle.terminal.plans import pilots_of, show_outline, show_plan, show_power
from corpuscle.terminal.printing import MOST_ROWS
from corpuscle.terminal.progress import Preparing, listening
from corpuscle.terminal.results import (
    remarks_on,
    show_checkpoint,
    show_measures,
    show_missing,
    show_proposals,
    show_results,
)

__all__ = [
    "MOST_ROWS", "Preparing", "listening", "pilots_of", "remarks_on", "show_checkpoint", "show_components",
    "show_measures", "show_missing", "show_outline", "show_plan", "show_power", "show_proposals", "show_results",
]  # fmt: skip
