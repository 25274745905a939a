"""Leaderboard of runs: how well measures of the corpora of some runs predict the scores of the same runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from corpuscle.core.errors import InputError
from corpuscle.report.page.run_folder import RunFolder
from corpuscle.statistics.divergence import RUN
from corpuscle.statistics.leaderboard import leaderboard, standings

# What a score is of, beside its run: stages of a search have trainings in common, which count once.
KEYS = ("task", "target", "metric", "way", "unit")
# What a run leaves, and what is left where corpora were measured alone.
ORIGINS = ("provenance.json", "description.json")


class Standings(NamedTuple):
    """What `standings_of` returns.

    Attributes
    ----------
    means
        A row per measure, of seen and of unseen targets; see `corpuscle.statistics.leaderboard.standings`.
    board
        A row per measure and score; see `corpuscle.statistics.leaderboard.leaderboard`.
    """

    means: pd.DataFrame
    board: pd.DataFrame


def standings_of(folder: Path) -> Standings:
    """Read a run's measures and scores, or those of all stages of a search, and say how they go together.

    Targets are seen where any corpus has cells of the target's source, and unseen where none has. Corpora of several
    stages are one where they have one name.

    Raises
    ------
    InputError
        When the run measured nothing, or has too few corpora.
    FolderError
        When it is not the folder of a run.
    """
    stages = sorted({path.parent for name in ORIGINS for path in folder.glob(f"stages/*/{name}")})
    # A stage that is still being run, or was interrupted, counts once it has its scores.
    stages = [one for one in stages if _described(one) or (one / "scores.parquet").is_file()]
    runs = [RunFolder.read(one, described=_described(one)) for one in stages or [folder]]
    trained = [run for run in runs if run.trained and len(run.scores)]
    measured = [run.measures for run in runs if len(run.measures)]
    if not trained or not measured:
        raise InputError(
            f"{folder}: has no {'measures' if trained else 'scores'}; expected a run that measured its corpora and "
            "scored models, as `corpuscle run` and `corpuscle recommend` do"
        )
    measures = pd.concat(measured, ignore_index=True).drop_duplicates(
        ["corpus", "seed", "measure", "of", "target", "size"]
    )
    scores = pd.concat([run.scores for run in trained], ignore_index=True).drop_duplicates([*RUN, *KEYS])
    board = leaderboard(measures, scores, _seen(trained))
    return Standings(standings(measures, scores, board), board)


def _described(folder: Path) -> bool:
    """Return whether corpora were measured alone."""
    trained, described = ((folder / name).is_file() for name in ORIGINS)
    return described and not trained


def _seen(runs: Sequence[RunFolder]) -> dict[str, bool]:
    """Return for each target whether any corpus has a part of its source."""
    drawn = {str(part["source"]) for run in runs for corpus in run.study.get("corpora", []) for part in corpus["parts"]}
    return {str(facts["name"]): str(facts["source"]) in drawn for run in runs for facts in run.provenance["targets"]}
