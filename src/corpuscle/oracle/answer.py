"""Answer: what a search has found, in sentences and tables."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from corpuscle.core.text import plural
from corpuscle.mixture import Assessment, FittedMixture
from corpuscle.mixture.agreement import LEAST_AGREEMENT
from corpuscle.mixture.assessing import UTILITY
from corpuscle.mixture.baselines import baselines
from corpuscle.mixture.effects import effects
from corpuscle.mixture.held_out import held_out
from corpuscle.mixture.pareto import non_dominated
from corpuscle.mixture.ranking import FEWEST_RANKED, LEAST_RELIABILITY
from corpuscle.mixture.table import FEWEST_MIXTURES
from corpuscle.mixture.wording import in_words
from corpuscle.oracle.plainly import dispensable, no_better_than_single
from corpuscle.oracle.recommendation import Recommendation
from corpuscle.oracle.search import Search, credible_set, drawn
from corpuscle.oracle.stages import joined
from corpuscle.study.mixing import weights_table

ALPHA = 0.05
# Of pairs; with fewer, there is no interval.
FEWEST_SEEDS = 2
# Of a weight, by limits: less is of whole cells.
CHANGED = 0.02
# Of a source's cells in a corpus: beyond, seeds share too many to stand for others of their kind.
MUCH_DRAWN = 0.2
# Reliability that more seeds are planned for.
WANTED = 0.75


def answered(search: Search, folder: Path) -> Recommendation:
    """Put a search into tables and sentences."""
    tables = _tables(search)
    reasons = [*search.reasons, *_disagreements(search)]
    abstains = bool(reasons)
    notes = [note for note in (no_better_than_single(search),) if note]
    weights = {}
    overruled = "" if abstains else _better_rival(search)
    if not abstains and search.contenders:
        weights = _weights(search, overruled or search.contenders[0])
        # Effects are those of the mixture that was expected to be best.
        effects_S = tables["effects"].set_index("source")
        without = "" if overruled else dispensable(effects_S, weights, search.stages.spec.tolerance)
        notes += [without] if without else []
    notes += _notes(search)
    said = f"No advice: {'; '.join(reasons)}." if abstains else _advice(search, weights)
    facts = {
        "proxy": search.label,
        "runs": search.n_runs,
        "failed": search.failures,
        "regrets": search.regrets,
        "regret": float("nan") if overruled or search.assessment is None else search.assessment.regret,
        "rivals": search.rivals,
        "contenders": search.contenders,
        "advised": overruled or (search.contenders[0] if weights else ""),
        "agreements": {what: found._asdict() for what, found in search.agreements.items()},
        "caps": search.stages.caps,
        "cells": search.stages.mixing.cells,
        "n_cells": search.stages.spec.n_cells,
    }
    if search.history.utility.pareto:
        facts |= {"combine": "pareto", "ends": search.ends, "better": dict(search.history.better)}
    return Recommendation(
        search.stages.mixing.study.name, folder, abstains, said, _next(search, reasons), (*reasons, *notes),
        weights, tables, facts,
    )  # fmt: skip


def _weights(search: Search, mixture: str) -> dict[str, float]:
    row = search.history.mixtures.loc[mixture]
    return {str(name): float(value) for name, value in row.items() if value > 0}


def _better_rival(search: Search) -> str:
    """Return the rival that fresh seeds show to be better than what the search expected to be best; empty: none is."""
    if search.history.utility.pareto or not search.contenders:
        return ""
    rows = search.confirmed[search.confirmed["output"] == UTILITY]
    worse = rows[(rows["mixture"] == search.contenders[0]) & (rows["p_holm"] <= ALPHA) & (rows["difference"] < 0)]
    return "" if worse.empty else str(worse.sort_values("difference")["rival"].iloc[0])


def _disagreements(search: Search) -> list[str]:
    """Return where ranks of the proxy are not those of another setting or model."""
    found = []
    for what, one in search.agreements.items():
        if not one.rank_correlation >= LEAST_AGREEMENT:
            shown = (
                "no order" if math.isnan(one.rank_correlation) else f"a rank correlation of {one.rank_correlation:.2f}"
            )
            found.append(f"{what} and the proxy rank {plural(one.n_mixtures, 'mixture')} with {shown}, under 0.5")
    return found


def _notes(search: Search) -> list[str]:
    """Return what else is not known, or was left out."""
    history, stages = search.history, search.stages
    found = []
    if search.assessment is not None:
        found += [f"{note[0].upper()}{note[1:]}." for note in search.assessment.notes]
    if lacking := [one.name for one in history.outputs if one.name not in history.better]:
        found.append(f"There are no scores of {', '.join(lacking)}: they do not count.")
    trials = search.trials()
    names = [one.name for one in history.outputs if one.name in history.better]
    if missing := int(trials[names].isna().any(axis=1).sum()):
        count = "counts" if missing == 1 else "count"
        found.append(
            f"Of {plural(len(trials), 'training')} that the surrogates learn from, {missing} diverged or failed, and "
            f"{count} as missing."
        )
    if 0 < (n := stages.spec.held_out) < FEWEST_RANKED:
        more = f", and {FEWEST_MIXTURES} for coverage" if n < FEWEST_MIXTURES else ""
        tests = "tests" if n == 1 else "test"
        found.append(f"{plural(n, 'held-out mixture')} {tests} little: a rank correlation takes {FEWEST_RANKED}{more}.")
    if len(stages.settings) < 2:
        found.append("The proxy has one setting: whether another learning rate ranks alike is not known.")
    if stages.spec.transfer is None:
        found.append("No second model was asked (transfer): whether its ranks are the proxy's is not known.")
    if (most := _most_drawn(search)) > MUCH_DRAWN:
        found.append(
            f"A corpus has up to {most:.0%} of a source's cells, so that seeds share cells: intervals on fresh seeds "
            "are about these cells, and for others of their kind they would be wider."
        )
    found += [f"Limits change {name}: it is {words} here." for name, words in _limited(search).items()]
    short = sorted(name for name, cap in stages.caps.items() if cap < 1)
    if short:
        found.append(
            f"Cells, their repeats or the prior limit {', '.join(short)}: “only” such a source has others, too."
        )
    return found


def _limited(search: Search) -> dict[str, str]:
    """Return in words the natural and equal shares that caps or the prior's limit have changed."""
    cells, usual = search.stages.mixing.cells, search.stages.usual
    free = weights_table(search.stages.mixing, baselines(cells, caps=None))
    names = [name for name in ("natural", "uniform") if name in usual.index and name in free.index]
    changed = [name for name in names if (usual.loc[name] - free.loc[name]).abs().max() > CHANGED]
    return {name: in_words({str(one): float(weight) for one, weight in usual.loc[name].items()}) for name in changed}


def _most_drawn(search: Search) -> float:
    """Return the largest share of a source's cells that a compared mixture has; 0 where none is compared."""
    compared = {*search.confirmed["mixture"], *search.confirmed["rival"]} & set(search.history.mixtures.index)
    counts = search.history.mixtures.loc[sorted(compared)] * search.stages.spec.n_cells
    shares = counts / pd.Series(search.stages.mixing.cells)
    return float(shares.clip(upper=1).max(axis=None)) if len(shares) else 0.0


def _advice(search: Search, weights: Mapping[str, float]) -> str:
    """Say what to train on, and what fresh seeds have shown."""
    found = search.assessment
    assert found is not None, "there is advice"
    if search.history.utility.pareto:
        return " ".join([found.advice, _confirmed(search), *_trade_confirmed(search)])
    mixture = in_words(weights)
    if overruled := _better_rival(search):
        roles = " = ".join(role for role, name in search.rivals.items() if name == overruled)
        expected = in_words(_weights(search, search.contenders[0]))
        return (
            f"Train on {mixture}: fresh seeds show it ({roles}) to be better than {expected}, which the search "
            f"expected to be best. {_confirmed(search, expected)}"
        )
    tied = len(credible_set(search, found)) - 1
    ties = f"; {plural(tied, 'named mixture')} cannot be told from it" if tied else ""
    return f"Train on {mixture}{ties}. {_confirmed(search)}"


def _confirmed(search: Search, it: str = "it") -> str:
    """Say of which rivals the mixture that was expected to be best was better with fresh seeds."""
    recommended = search.contenders[0]
    rows = search.confirmed[(search.confirmed["output"] == UTILITY) & (search.confirmed["mixture"] == recommended)]
    roles: dict[str, list[str]] = {}
    for role, name in search.rivals.items():
        roles.setdefault(name, []).append(role)
    said: dict[str, list[str]] = {"better than": [], "worse than": [], "not shown to differ from": []}
    own = roles.get(recommended, [])
    compared = rows["n_seeds"] >= FEWEST_SEEDS
    for row in rows[compared].itertuples():
        shown = row.p_holm <= ALPHA
        key = "not shown to differ from" if not shown else "better than" if row.difference > 0 else "worse than"
        named = " = ".join(roles.get(str(row.rival), [str(row.rival)]))
        said[key].append(f"{named} ({f'{row.difference:+.2f}'.replace('-', '−')} SD)")
    parts = [f"{key} {', '.join(names)}" for key, names in said.items() if names]
    it = "the balanced mixture" if search.ends else it
    itself = f"{it[0].upper()}{it[1:]} is {' and '.join(own)} itself. " if own else ""
    counts = sorted({int(n) for n in rows.loc[compared, "n_seeds"]})
    seeds = " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]]))) if counts else "no two"
    lost = [" = ".join(roles.get(str(name), [str(name)])) for name in rows.loc[~compared, "rival"]]
    without = f" Fewer than two seeds have both it and {', '.join(lost)}." if lost else ""
    said_of = "; ".join(parts) or "compared with nothing"
    return f"{itself}With {seeds} fresh seeds {it} is {said_of} (Holm, 5 %).{without}"


def _trade_confirmed(search: Search) -> list[str]:
    """Say whether fresh seeds show what the ends of the front trade; nothing where there are no two ends."""
    if len(search.ends) < 2:
        return []
    rows, parts, holds = search.confirmed, [], True
    for output, end in search.ends.items():
        other = next(name for name in search.ends.values() if name != end)
        is_row = (rows["output"] == output) & (rows["mixture"] == end) & (rows["rival"] == other)
        row = rows[is_row].iloc[-1]
        # Both have to hold, so neither p is corrected for the other.
        holds &= bool(row["p"] <= ALPHA and row["difference"] > 0)
        parts.append(f"{row['difference']:+.3g} in {output}".replace("-", "−"))
    verdict = "The trade-off holds" if holds else "The trade-off is not shown"
    return [f"{verdict} with them: each end against the other has {' and '.join(parts)} (paired by seed, 5 % each)."]


def _next(search: Search, reasons: Sequence[str]) -> str:
    """Say in a sentence what to do next."""
    if search.assessment is None:
        return "Look at why trainings failed, in recommendation.json, and run the same command again."
    return _next_without(search, search.assessment, reasons) if reasons else _next_with(search, search.assessment)


def _next_without(search: Search, found: Assessment, reasons: Sequence[str]) -> str:
    """Say what to do where there is no advice."""
    reliable, spec = _reliability(search, found), search.stages.spec
    if reliable < LEAST_RELIABILITY:
        return (
            "Seeds differ about as much as mixtures do: let the proxy train longer or at a lower learning rate, or "
            f"raise seeds from {spec.seeds}{_seeds_for(reliable, spec.seeds)}; until then, natural proportions are as "
            "good a guess as any."
        )
    if search.reasons:
        return (
            "Mixtures hardly differ in what counts, or not in a way that could be learnt: take natural proportions, or "
            "ask for targets that sources differ on."
        )
    if any(reason.startswith("the model") for reason in reasons):
        return f"Search with {spec.transfer} itself as the proxy, if you can pay for it."
    return "Give the proxy lower learning rates and more steps: its ranks depend on them."


def _reliability(search: Search, found: Assessment) -> float:
    """Return the reliability of what mixtures are chosen by; of a front, that of the second most reliable output."""
    utility = search.history.utility
    if not utility.pareto:
        return float(found.scorecard.loc[UTILITY, "reliability"])
    known = found.scorecard.loc[utility.counted(found.fitted.table), "reliability"].dropna().sort_values()
    return float(known.iloc[-2]) if len(known) > 1 else float("nan")


def _next_with(search: Search, found: Assessment) -> str:
    """Say what to do with a recommendation."""
    rows, spec = search.confirmed, search.stages.spec
    if search.ends:
        lacks = (
            f"; a point of it may still lack {found.regret:.2f} SD: raise runs to search on"
            if (found.regret > spec.tolerance)
            else ""
        )
        return (
            f"Choose by what {' and '.join(search.ends)} are worth against each other: front.csv has the weights of "
            f"all points of the front{lacks}."
        )
    if _better_rival(search):
        return (
            "Train on it at full size; what the search says of other mixtures and of effects is in doubt, as its laws "
            "do not see why this one is better: raise runs to search on, what is there is used again."
        )
    shown = rows[(rows["output"] == UTILITY) & (rows["p_holm"] <= ALPHA) & (rows["difference"] > 0)]
    beaten = {*shown["rival"], search.contenders[0]}
    plain = [name for name in ("natural", "uniform") if name in search.rivals and search.rivals[name] not in beaten]
    lacks = (
        f"the best may still lack {found.regret:.2f} SD of utility, more than the {spec.tolerance:g} that is "
        "tolerated: raise runs to search on, what is there is used again."
        if found.regret > spec.tolerance
        else ""
    )
    if plain:
        return (
            f"It is not shown to be better than {' and '.join(plain)}: if these are simpler, train on them, or raise "
            f"confirm_seeds to see a smaller difference.{f' And {lacks}' if lacks else ''}"
        )
    return f"Train on it; {lacks}" if lacks else "Train on it at full size."


def _seeds_for(reliable: float, seeds: int) -> str:
    """Return how many seeds would make a mean reliable (Spearman and Brown), as words."""
    if not 0 < reliable < 1:
        return ""
    one = reliable / (seeds - (seeds - 1) * reliable)
    return f" to about {math.ceil(WANTED * (1 - one) / (one * (1 - WANTED)))}"


def _tables(search: Search) -> dict[str, pd.DataFrame]:
    """Return everything that is written as CSV."""
    mixtures = search.history.mixtures
    cells = pd.Series(search.stages.mixing.cells)
    counts = (mixtures * search.stages.spec.n_cells).round().astype(int)
    tables = {
        "forecast": search.forecast.reset_index(names="mixture"),
        "gate": search.settings.reset_index(names="setting"),
        "trials": search.history.trials(),
        "mixtures": mixtures.assign(
            n_cells=counts.sum(axis=1), unique_cells=counts.clip(upper=cells, axis=1).sum(axis=1),
            most_repeats=(counts / cells).max(axis=1).clip(lower=1).apply(math.ceil),
        ).reset_index(names="mixture"),
        "confirmation": search.confirmed,
        "agreement": pd.DataFrame(
            [(what, *one) for what, one in search.agreements.items()],
            columns=["with", "rank_correlation", "n_mixtures"],
        ),
    }  # fmt: skip
    return tables | (_of_assessment(search) if search.assessment is not None else {})


def _of_assessment(search: Search) -> dict[str, pd.DataFrame]:
    """Return the tables that need a fit."""
    found, history, stages = search.assessment, search.history, search.stages
    assert found is not None, "the caller has looked"
    held = set(stages.designed[1].index)
    trials = search.trials()
    inside, outside = trials[~trials["mixture"].isin(held)], trials[trials["mixture"].isin(held)]
    honest = history.fitted(inside)
    card = found.scorecard
    tested = held_out(honest, history.mixtures.loc[outside["mixture"]], outside, history.utility)
    about = pd.DataFrame({"weight": one.weight, "unseen": one.unseen} for one in history.outputs)
    about.index = pd.Index([one.name for one in history.outputs])
    card = card.join(about, how="left").join(tested, how="left")
    card["unseen"] = card["unseen"].eq(other=True)
    own = history.mixtures.loc[search.contenders]
    shown = joined(own, stages.usual, stages.singles)
    shown = shown[~shown.index.duplicated()]
    parts = {
        name: pd.DataFrame(part, shown.index, list(found.fitted.table.outputs)).stack(future_stack=True)
        for name, part in found.fitted.predict(shown)._asdict().items()
    }
    predicted = pd.concat(parts, axis=1).reset_index(names=["mixture", "output"])
    base = search.contenders[0] if search.contenders else "natural"
    start = history.mixtures.loc[base] if base in history.mixtures.index else stages.usual.loc["natural"]
    tried = history.mixtures.loc[list(dict.fromkeys(trials["mixture"]))]
    expected = pd.DataFrame(found.fitted.means(tried.to_numpy()), tried.index, list(found.fitted.table.outputs))
    front = non_dominated(expected, history.better)
    return {
        **({"front": front_table(search, found)} if len(found.front) else {}),
        "pareto": front.join(tried).reset_index(names="mixture"),
        "scorecard": card.reset_index(names="output"),
        "credible_set": credible_set(search, found).reset_index(names="mixture"),
        "credible_ranges": found.ranges.reset_index(names="source"),
        "predicted": predicted,
        "predictions": _predictions(search, honest, inside, outside),
        "effects": effects(found.fitted, history.utility, start.to_dict(), seed=stages.first_seed).reset_index(),
    }


def front_table(search: Search, found: Assessment) -> pd.DataFrame:
    """Return the front under the names by which its mixtures are known; those that whole cells make alike once."""
    names = [str(drawn(search, found, str(name)).index[0]) for name in found.front.index]
    table = found.front.set_axis(names)
    return table[~table.index.duplicated()].reset_index(names="mixture")


def _predictions(search: Search, honest: FittedMixture, inside: pd.DataFrame, outside: pd.DataFrame) -> pd.DataFrame:
    """Return each mixture's mean score, and what was predicted by fits that did not see it."""
    history = search.history
    names = list(honest.table.outputs)
    parts = []
    for held, trials in ((False, inside), (True, outside)):
        if trials.empty:
            continue
        known = honest.left_out if not held else honest.means(history.mixtures.loc[trials["mixture"]].to_numpy())
        said = pd.DataFrame(known, columns=names).assign(mixture=trials["mixture"].to_numpy())
        means = {"observed": trials[["mixture", *names]], "predicted": said}
        both = pd.concat(
            {name: one.groupby("mixture", sort=False).mean().stack(future_stack=True) for name, one in means.items()},
            axis=1,
        )
        parts.append(both.reset_index(names=["mixture", "output"]).assign(held_out=held))
    return pd.concat(parts, ignore_index=True)
