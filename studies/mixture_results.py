"""Write what a search over mixtures of packaged cells has found, for the documentation.

``python studies/mixture_results.py FOLDER`` reads the folder that these commands have left:

    corpuscle recommend studies/mixture.toml -o FOLDER
    corpuscle advise    studies/mixture.toml --candidate PILOT.h5ad -o FOLDER
    corpuscle value     studies/mixture.toml --subsets 24 -o FOLDER

and writes a table in Markdown for each part of the page ``docs/mixture-on-cells.md`` into
``docs/mixture-on-cells/PART.md``. Of a part that is not there, the table that was written before stays.
"""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from corpuscle.core.errors import InputError
from corpuscle.report.leaderboard import standings_of
from corpuscle.source.reader import reading
from corpuscle.store import write_text

HERE = Path(__file__).resolve().parent
PAGES = HERE.parent / "docs" / "mixture-on-cells"
sys.path.insert(0, str(HERE))

from script import a_folder, run, words  # noqa: E402
from summarise import cell  # noqa: E402

UTILITY = "(utility)"


def number(value: float, digits: int = 2) -> str:
    """Return a number with a true minus; a dash where there is none."""
    return f"{value:.{digits}f}".replace("-", "−") if pd.notna(value) else "–"


def between(low: float, high: float, digits: int = 2) -> str:
    """Return an interval."""
    return f"{number(low, digits)} to {number(high, digits)}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows as a table in Markdown, numbers to the right."""
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    lines += [f"| {' | '.join(cell(part) for part in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def target(output: str) -> str:
    """Return the target's name of an output such as ``r2_log on K562``."""
    return output.partition(" on ")[2] or "all targets (utility)"


def said(folder: Path) -> str:
    """Return the advice, what to do next, remarks, and what it took."""
    found = json.loads((folder / "recommendation.json").read_text(encoding="utf-8"))
    runs = found["facts"]["runs"]
    stages = ", ".join(f"{name} {count}" for name, count in runs.items())
    said = "\n>\n".join(f"> {cell(part)}" for part in (found["advice"], found["next"], *found["remarks"]))
    return f"{said}\n\n{sum(runs.values())} trainings: {stages}.\n"


def scorecard(folder: Path) -> str:
    """Return how well mixtures that no surrogate learnt from are ranked, by target."""
    found = pd.read_csv(folder / "scorecard.csv")
    rows = [
        (
            target(row.output) + (" (no source has it)" if row.unseen else ""), number(row.held_out_reliability),
            number(row.held_out_rank_correlation), number(row.held_out_of_ceiling),
            f"{100 * row.held_out_coverage:.0f} %" if pd.notna(row.held_out_coverage) else "–",
            number(row.regret), number(row.random_regret),
        )
        for row in found.itertuples()
    ]  # fmt: skip
    return table(
        ["target", "reliability", "ρ", "of the ceiling", "in 90 % interval", "regret", "of random search"], rows
    )


def confirmed(folder: Path) -> str:
    """Return the recommended mixture against its rivals: the utility, and how many targets are better or worse."""
    facts = json.loads((folder / "recommendation.json").read_text(encoding="utf-8"))["facts"]
    found = pd.read_csv(folder / "confirmation.csv")
    found = found[found["mixture"] == facts["contenders"][0]]
    rows = []
    for name in dict.fromkeys(found["rival"]):
        here = found[found["rival"] == name]
        utility = here[here["output"] == UTILITY].iloc[0]
        shown = here[(here["output"] != UTILITY) & (here["p_holm"] <= 0.05)]
        better, worse = (
            ", ".join(target(one) for one in shown.loc[side, "output"]) or "none"
            for side in (shown["difference"] > 0, shown["difference"] < 0)
        )
        roles = [role for role, rival in facts["rivals"].items() if rival == name]
        named = name if name in roles else f"{' = '.join(roles)}: {name}"
        rows.append((named, f"{number(utility.difference)} ({between(utility.low, utility.high)})",
                     "< 0.001" if utility.p_holm < 0.001 else number(utility.p_holm, 3), better, worse))  # fmt: skip
    return table(["rival", "utility, SD", "p (Holm)", "better on", "worse on"], rows)


def known(folder: Path) -> str:
    """Return what known sources add, as trained and as predicted: only what is beyond two standard errors."""
    found = pd.read_csv(folder / "known_sources.csv")
    sure = found[found["value"].abs() > 2 * found["se"]]
    rows = [
        (row.source, target(row.output), f"{number(row.value, 4)} ± {number(row.se, 4)}", number(row.predicted, 4),
         between(row.low, row.high, 4))
        for row in sure.itertuples()
    ]  # fmt: skip
    return table(["source", "target", "adds (R², ± SE)", "predicted", "90 % interval"], rows)


def worth(folder: Path) -> str:
    """Return what each source is worth, in the mean over subsets of the others: of all targets, by leaving out."""
    found = pd.read_csv(folder / "source_values.csv")
    utility = found[found["output"] == UTILITY]
    heads = {"fixed": "corpus keeps its size", "additive": "corpus is smaller without it"}
    ways = [way for way in heads if way in set(utility["way"])]
    table_of = utility.set_index(["source", "way"])
    rows = [
        (source, *(f"{number(row.banzhaf)} ({between(row.banzhaf_low, row.banzhaf_high)})"
                   for row in (table_of.loc[(source, way)] for way in ways)))
        for source in dict.fromkeys(utility["source"])
    ]  # fmt: skip
    return table(["source", *(heads[way] for way in ways)], rows)


def measures(folder: Path) -> str:
    """Return how well each measure ranks corpora as trained models do, for seen and for unseen targets."""
    found = standings_of(folder).means
    equal = found[(found["size"] == "equal") | ~found["measure"].isin(found.loc[found["size"] == "equal", "measure"])]
    rows = []
    for (name, of), here in equal.groupby(["measure", "of"], sort=False):
        row = [f"{name} ({of})" if of else str(name)]
        for seen in (True, False):
            one = here[here["seen"] == seen]
            row.append(f"{number(one['correlation'].iloc[0])} ({between(one['low'].iloc[0], one['high'].iloc[0])})"
                       if len(one) else "–")  # fmt: skip
        # Some measures are monotone in each other (Shannon's in bits and nats), and rank corpora alike.
        if not any(one[1:] == row[1:] and one[0].endswith(f"({of})") for one in rows):
            rows.append(row)
    return table(["measure", "targets that sources have", "targets that no source has"], rows)


PARTS: dict[str, tuple[str, Callable[[Path], str]]] = {
    "said": ("recommendation.json", said),
    "scorecard": ("scorecard.csv", scorecard),
    "confirmed": ("confirmation.csv", confirmed),
    "known": ("known_sources.csv", known),
    "worth": ("source_values.csv", worth),
    "measures": ("recommendation.json", measures),
}


def main(folder: Path) -> None:
    """Write each part that the folder has.

    Raises
    ------
    InputError
        When it has none, or one is damaged; nothing is written then.
    """
    texts = {}
    for name, (needed, made) in PARTS.items():
        if (folder / needed).exists():
            with reading(folder / needed, "what `corpuscle recommend` writes"):
                texts[name] = made(folder)
    if not texts:
        names = ", ".join(sorted({needed for needed, _ in PARTS.values()}))
        raise InputError(
            f"{folder}: expected {names}; none is there; give the folder that `corpuscle recommend "
            "studies/mixture.toml -o FOLDER` wrote"
        )
    PAGES.mkdir(exist_ok=True)
    for name, text in texts.items():
        write_text(PAGES / f"{name}.md", text)


def called() -> None:
    """Write the parts of a folder."""
    parser = words(__doc__)
    parser.add_argument("folder", metavar="FOLDER", type=a_folder, help="the folder of the search")
    main(parser.parse_args().folder)


if __name__ == "__main__":
    run(called)
