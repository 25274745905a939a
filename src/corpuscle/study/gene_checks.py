"""What is checked of a study's genes when its sources are open: how they are named, and how much the space keeps."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from corpuscle.source.gene_names import GeneNames
from corpuscle.source.genes import By, GeneSpace, not_found
from corpuscle.source.source import Source
from corpuscle.study.tables import GenesSpec

# A space that keeps less of a source's counts is refused where it is not asked for.
MIN_COUNTS_KEPT = 0.2


def gene_warnings(
    sources: Mapping[str, Source], space: GeneSpace, by: By, listed: Path | None = None
) -> Iterator[tuple[str, str]]:
    """Return how genes are named where that is not plain, and which listed genes no source has.

    Parameters
    ----------
    sources
        The sources, by name.
    space, by
        The study's genes, and what they are matched by.
    listed
        The list that they are from, if any.

    Yields
    ------
    A place in the study file, and what to say.
    """
    for name, source in sources.items():
        about = source.reader.about_genes()
        if about.remark and not (about.matched_by_place and (len(sources) == 1 or by == "ensembl")):
            yield f"sources.{name}", f"source {name!r}: {about.remark}"
    if listed is not None and (missing := not_found(listed, by, space)):
        yield "genes.space", missing


def counts_kept(survey: pd.DataFrame) -> float:
    """Return the share of a source's counts that are in the study's genes; NaN where it has none."""
    total = int(survey["n_counts"].sum())
    return float(survey["n_counts_in_space"].sum() / total) if total else float("nan")


def lost_sources(
    spec: GenesSpec, names: Mapping[str, GeneNames], space: GeneSpace, surveys: Mapping[str, pd.DataFrame], by: By
) -> Iterator[tuple[str, str]]:
    """Find the sources most of whose counts are outside the study's genes.

    Yields
    ------
    A place in the study file, and what is wrong.
    """
    is_list = spec.space not in ("intersection", "union")
    least = (0.0 if is_list else MIN_COUNTS_KEPT) if spec.min_counts_kept is None else spec.min_counts_kept
    for name, survey in surveys.items():
        kept = counts_kept(survey)
        if kept < least:
            yield (
                f"sources.{name}",
                f"the study's {len(space):,} genes ({spec.space}, matched by {by}) keep {kept:.1%} of the counts of "
                f"source {name!r}, less than {least:.0%}: {int(space.measured(name).sum()):,} of its "
                f"{len(names[name].symbols):,} genes; {_cause(name, names, space, by)}. Drop the source that does not "
                f"fit, or write min_counts_kept = {_below(kept)} under [genes] if so few are meant",
            )


def _cause(name: str, names: Mapping[str, GeneNames], space: GeneSpace, by: By) -> str:
    """Return what the likely cause is."""
    own = names[name].ids(by)
    without = int((own == "").sum())
    if without > len(own) / 2:
        return f"{without:,} of its genes have no {'Ensembl id' if by == 'ensembl' else 'symbol'}"
    sizes = {other: len(found.symbols) for other, found in names.items()}
    smallest = min(sizes, key=lambda other: sizes[other])
    if smallest != name and space.measured(smallest).sum() > sizes[smallest] / 2:
        return (
            f"source {smallest!r} has only {sizes[smallest]:,} genes (a panel?), and the others are cut to what it "
            'shares; space = "union" keeps all'
        )
    outside = own[(space.columns[name] < 0) & (own != "")]
    return f"likely its names are of another release, kind or organism: others lack {', '.join(outside[:3])}, …"


def _below(share: float) -> float:
    """Return a threshold that a share passes, with one digit or two."""
    return int(share * 100) / 100
