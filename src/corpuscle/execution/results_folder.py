"""Output: the folder that a run leaves, whose it is, and what is written into it besides results.

::

    study.toml  provenance.json  scores.parquet  curves.parquet  composition.parquet  sources.parquet  genes.parquet
    labels.parquet               what labels of which source are called, where the study names any
    draws.parquet                how much of its pool a draw takes, and what two seeds' draws share
    measures.parquet  profiles.parquet  cell_types.parquet       what the corpora are, and measures.csv for reading
    fits.parquet                 how well each model gives its own training cells back, by which diverged fits are found
    maps.parquet                 embeddings laid out in the plane, where a task looks at embeddings
    corpora/<name>/<seed>/       manifest.json, cells.parquet, origins.parquet where a step made cells, and corpus.h5ad
                                 where the corpus was composed
    report.html  figures/        the report
    saturation.csv               verdicts on ladders, where the study has any
    description.html  .json      the same without scores, where the corpora were described
    artifacts.json               where the store is, and which of its results each score is from
    store/                       what the tables are made from, each under the fingerprint of what it depends on; not
                                 there where the run shares a store with others
    errors/                      tracebacks of what went wrong
"""

import json
import math
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from corpuscle.core.csv_text import csv_text
from corpuscle.core.errors import FolderError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.core.paths import read_plain, safe_name
from corpuscle.core.plain_toml import parse_toml
from corpuscle.core.text import shortened
from corpuscle.core.version import __version__
from corpuscle.corpus import derived
from corpuscle.corpus.corpus import KEYS, Corpus
from corpuscle.corpus.obs import changes
from corpuscle.execution.graph import RunArtifacts
from corpuscle.execution.measuring import Measured
from corpuscle.execution.run_record import ARTIFACTS, read_artifacts
from corpuscle.source.source import ROLES, dataset_facts
from corpuscle.store import PACKAGES, Store, atomic, write_text
from corpuscle.study import given
from corpuscle.study.plan import Plan
from corpuscle.study.spec import Study

LOCK = ".lock"
# What a run that was refused for its data, or its cluster, may have left: the folder is still anybody's.
UNCLAIMED = {LOCK, "store", "errors", given.FOLDER}


@contextmanager
def claimed(folder: Path, study: Study) -> Iterator[Callable[[], None]]:
    """Make sure that a folder is this study's or nobody's, and keep other processes out while the block lasts.

    Yields what raises a `FolderError` when the folder is not there any more, or is another one of the same name.

    Raises
    ------
    FolderError
        When the folder holds another study or something else, is in use, or cannot be written.
    """
    try:
        _refuse_foreign(folder, study)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        # Where the disk has no locks, the claim of the run's record keeps others out, if not as soon.
        with suppress(NotImplementedError):
            lock.acquire(timeout=0)
    except Timeout:
        raise FolderError(f"{folder} is in use by another run; wait for it, or choose another folder") from None
    except OSError as error:
        why = error.strerror or str(error)
        named = shortened(str(folder), 300)
        raise FolderError(f"{named}: cannot be written ({why}); choose another folder with -o") from None
    own = (folder / LOCK).stat() if (folder / LOCK).exists() else None

    def check() -> None:
        try:
            is_there = own is None or os.path.samestat((folder / LOCK).stat(), own)
        except OSError:
            is_there = False
        if not is_there:
            raise FolderError(
                f"{folder} was removed, or replaced, while the run was writing there; run the same command again"
            )

    try:
        yield check
    finally:
        lock.release()


def claim(folder: Path, study: Study) -> None:
    """Make a folder this study's: later runs of other studies will be refused there."""
    write_text(folder / "study.toml", study.text)


def led_by(study: Study) -> dict[str, list[str]]:
    """Return the metric and way that reports lead with, by label of a task that names one."""
    return {task.label: [*task.headline] for task in study.tasks if any(task.headline)}


def write_artifacts(
    folder: Path,
    store: Store,
    runs: Sequence[RunArtifacts] | None = None,
    headlines: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write where a run's store is, what its scores are from, and which lead (see `led_by`); without, as it was."""
    is_own = os.path.realpath(store.root) == os.path.realpath(folder / "store")
    where = "store" if is_own else os.path.realpath(store.root)
    before = read_artifacts(folder) if runs is None or headlines is None else {}
    found = before.get("runs", []) if runs is None else [_artifacts(one) for one in runs]
    lead = before.get("headlines", {}) if headlines is None else headlines
    write_text(folder / ARTIFACTS, json.dumps({"store": where, "headlines": lead, "runs": found}))


def _artifacts(one: RunArtifacts) -> dict[str, Any]:
    """Return the names in the store of what a run's scores are from."""
    scores = [
        {
            "task": asked.asked,
            "target": asked.target_name,
            "key": asked.key,
            "cells": asked.target,
            "reference": asked.reference.key if asked.reference else "",
        }
        for asked in one.scores
    ]
    # JSON has no NaN.
    seen = {target: None if math.isnan(share) else share for target, share in one.seen.items()}
    keys = {"model_key": one.fit.key, "cells": one.fit.corpus, "altered": [*one.altered], "seen": seen}
    return {**one.run._asdict(), **keys, "scores": scores}


def _refuse_foreign(folder: Path, study: Study) -> None:
    if folder.exists() and not folder.is_dir():
        raise FolderError(f"{folder} is a file; choose a folder with -o")
    kept = folder / "study.toml"
    if kept.exists():
        name = _study_name(kept)
        if name != study.name:
            raise FolderError(
                f"{folder} holds the study {name!r}, and this one is called {study.name!r}; "
                "choose another folder with -o (a changed study of the same name goes on in its folder)"
            )
    elif folder.is_dir() and not {entry.name for entry in folder.iterdir()} <= UNCLAIMED:
        raise FolderError(f"{folder} is not empty and holds no study; choose a new or empty folder with -o")


def _study_name(path: Path) -> str:
    try:
        return str(parse_toml(read_plain(path)).get("name"))
    except (OSError, ValueError, RecursionError) as error:
        raise FolderError(
            f"{path}: cannot be read ({error}); if the folder is this study's, copy the study file there, else choose "
            "another folder with -o"
        ) from None


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as parquet, whole or not at all, with checksums that `RunFolder.read` compares."""
    with atomic(path) as partial:
        table.to_parquet(partial, index=False, write_page_checksum=True)


def corpus_folder(folder: Path, name: str, seed: int) -> Path:
    """Return where a corpus is written."""
    return folder / "corpora" / safe_name(name) / str(seed)


def write_plan(folder: Path, plan: Plan) -> None:
    """Write all that is known before anything is trained: the study, manifests, and what the data were."""
    claim(folder, plan.study)
    for (name, seed), corpus in plan.corpora.items():
        write_manifest(corpus_folder(folder, name, seed), plan, corpus, seed)
    write_table(plan.composition(), folder / "composition.parquet")
    write_table(plan.draws, folder / "draws.parquet")
    write_table(plan.quality, folder / "sources.parquet")
    write_table(plan.genes, folder / "genes.parquet")
    if len(plan.relabelled):
        write_table(plan.relabelled, folder / "labels.parquet")
    else:
        (folder / "labels.parquet").unlink(missing_ok=True)


def write_measures(folder: Path, measured: Measured) -> None:
    """Write what the corpora are: measures, curves, and what their cell types were taken for."""
    for name in ("measures", "profiles", "cell_types"):
        write_table(getattr(measured, name), folder / f"{name}.parquet")
    write_text(folder / "measures.csv", csv_text(measured.measures))


def write_manifest(folder: Path, plan: Plan, corpus: Corpus, seed: int) -> None:
    """Write which cells a corpus holds (``cells.parquet``) and how they were chosen (``manifest.json``).

    Where a step made cells, ``origins.parquet`` says of which cells of files each is made.
    """
    labels = [role for role in ROLES if role in corpus.cells]
    # What a step left next to a label, and what made cells were made by.
    labels += [column for column in ("made", *(f"{role}_before_noise" for role in ROLES)) if column in corpus.cells]
    cells = corpus.cells[[*KEYS, *labels]].astype({"source": "string", "barcode": "string"})
    cells = cells.astype(dict.fromkeys(labels, "string"))
    write_table(cells, folder / "cells.parquet")
    origins = folder / "origins.parquet"
    if corpus.used_makers:
        write_table(derived.origins(corpus), origins)
    else:
        origins.unlink(missing_ok=True)
    write_text(folder / "manifest.json", json.dumps(manifest(plan, corpus, seed), indent=1))


def manifest(plan: Plan, corpus: Corpus, seed: int) -> dict[str, Any]:
    """Return how a corpus' cells were chosen, and from what."""
    recipe = plan.recipe(corpus.name)
    changed = changes(corpus.cells)
    return {
        "corpus": corpus.name,
        "seed": seed,
        "recipe": str(recipe),
        "account": list(corpus.account),
        "n_cells": corpus.n_cells,
        "n_distinct_cells": len(corpus),
        "repeated_barcodes": corpus.repeated_barcodes,
        "renamed_columns": changed.renamed,
        "columns_as_text": changed.as_text,
        "gene_space": gene_space_facts(plan),
        "inputs": [facts for facts in input_facts(plan) if facts["source"] in corpus.inputs],
        "fingerprint": fingerprint(corpus.identity()),
        "corpuscle": __version__,
    }


def gene_space_facts(plan: Plan) -> dict[str, Any]:
    """Return what the gene space is."""
    return {"kind": plan.study.spec.genes.space, "by": plan.by, "n_genes": len(plan.space)}


def input_facts(plan: Plan) -> list[dict[str, Any]]:
    """Return what each source is: its file or data set, its content's hash, its size, its citation."""
    found = []
    for name, source in plan.sources.items():
        spec = plan.study.spec.sources[name]
        named = plan.relabelled[plan.relabelled["source"] == name].groupby("label", sort=False)
        labels = {column: dict(zip(table["from"], table["to"], strict=True)) for column, table in named}
        facts: dict[str, Any] = {"source": name, "dataset": spec.dataset, "path": spec.path, "where": spec.where,
                                 "labels": labels or None, "counts": spec.counts.layer,
                                 "rounded": spec.counts.round or None,
                                 "sha256": source.content, "n_cells": len(source),
                                 "n_genes": len(source.genes)}  # fmt: skip
        if spec.dataset:
            known = dataset_facts(spec.dataset)
            facts |= {key: known[key] for key in ("title", "citation", "licence", "accession") if key in known}
        found.append({key: value for key, value in facts.items() if value is not None})
    return found


def write_provenance(
    folder: Path, plan: Plan, failures: Sequence[Mapping[str, Any]], seconds: float, name: str = "provenance.json"
) -> None:
    """Write where everything came from, and what failed."""
    write_text(folder / name, json.dumps(_provenance(folder, plan, failures, seconds), indent=1))


def write_unfinished(folder: Path, plan: Plan) -> None:
    """Write where everything will come from, before it is there: `corpuscle report` then shows what is."""
    document = {**_provenance(folder, plan, [], 0.0), "unfinished": True}
    write_text(folder / "provenance.json", json.dumps(document, indent=1))


def _provenance(folder: Path, plan: Plan, failures: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, Any]:
    first = plan.study.draws[0]
    return {
        "study": plan.study.name,
        "corpuscle": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {name: version(name) for name in PACKAGES},
        "gene_space": gene_space_facts(plan),
        "inputs": input_facts(plan),
        "targets": [target_facts(plan, name) for name in plan.asked_on],
        "corpora": [
            {"name": recipe.name, "n_cells": plan.corpora[recipe.name, first].n_cells, "recipe": str(recipe)}
            for recipe in plan.study.recipes
        ],
        "warnings": [str(warning) for warning in plan.warnings],
        "failures": list(failures),
        # A report without one of them would say other things, so it is not made.
        "tables": sorted(path.name for path in folder.glob("*.parquet")),
        "seconds": {"total": round(seconds, 1)},
    }


def target_facts(plan: Plan, name: str) -> dict[str, Any]:
    """Return what a target is."""
    if name not in plan.targets:
        what = "its own training cells, in place: models are asked about the cells that they were fitted on"
        return {"name": name, "source": "each corpus", "n_cells": "its cells", "description": what}
    spec = plan.study.targets[name]
    held = plan.study.holdout.get(spec.source)
    what = f"cells of {spec.source} held out by {held.by}" if held else f"all cells of {spec.source}"
    description = f"{what}, where {spec.where}" if spec.where else what
    return {
        "name": name,
        "source": spec.source,
        "n_cells": len(plan.targets[name]),
        "description": description,
    }
