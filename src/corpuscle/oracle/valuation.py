"""Valuation: what `value` found: a ledger of the sources for each way of leaving one out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from corpuscle.mixture.ledger import Ledger

# What leaving a source out means.
WAYS = {
    "fixed": "the corpus keeps its size, and the others have more of it",
    "additive": "the corpus is smaller by its cells",
}
# How good a subset is in all that counts, as mixtures are; its unit is the standard deviation over subsets.
UTILITY = "(utility)"


@dataclass(frozen=True, repr=False)
class Valuation:
    """What each source is worth.

    Attributes
    ----------
    study
        The study's name.
    folder
        Where everything is written.
    proxy
        The setting of the proxy that was trained.
    ledgers
        By `WAYS`: what each source is worth for each output, and for the utility.
    trials
        Every training: ``way``, ``subset``, ``seed``, and a column per output.
    members
        Subsets × sources.
    failures
        What went wrong, by stage and training.
    warnings
        What is legal in the stages and affects what can be claimed.
    """

    study: str
    folder: Path
    proxy: str
    ledgers: Mapping[str, Ledger]
    trials: pd.DataFrame
    members: pd.DataFrame
    failures: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    @property
    def page(self) -> Path:
        """The page."""
        return self.folder / "valuation.html"

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables, by the name of their files."""

        def stacked(name: str) -> pd.DataFrame:
            parts = [getattr(found, name).assign(way=way) for way, found in self.ledgers.items()]
            table = pd.concat(parts, ignore_index=True)
            return table[["way", *(column for column in table if column != "way")]]

        return {
            "source_values": stacked("values"), "source_interactions": stacked("interactions"),
            "source_fit": stacked("fit"), "source_trials": self.trials,
            "source_subsets": self.members.reset_index(names="subset"),
        }  # fmt: skip

    def sentences(self) -> list[str]:
        """Say for each way which sources earn their place, which do harm, which are worth nothing that can be shown."""
        found = []
        for way, ledger in self.ledgers.items():
            rows = ledger.values[ledger.values["output"] == UTILITY]
            shown = {
                ("adds", "add"): rows.loc[rows["banzhaf_low"] > 0, "source"],
                ("does harm", "do harm"): rows.loc[rows["banzhaf_high"] < 0, "source"],
            }
            shown["is not shown to add anything", "are not shown to add anything"] = rows.loc[
                ~rows["source"].isin(pd.concat([*shown.values()])), "source"
            ]
            parts = [f"{', '.join(names)} {verbs[len(names) > 1]}" for verbs, names in shown.items() if len(names)]
            pairs = ledger.interactions[
                (ledger.interactions["output"] == UTILITY) & (ledger.interactions["meaning"] == "redundant")
            ]
            several = [f"{one} with {other}" for one, other in zip(pairs["source"], pairs["other"], strict=True)]
            redundant = f"; redundant: {', '.join(several[:6])}" if several else ""
            found.append(f"Where {WAYS[way]}: {'; '.join(parts)}{redundant}.")
        return found

    def __repr__(self) -> str:
        return f"Valuation({self.study!r}: {' '.join(self.sentences())})"
