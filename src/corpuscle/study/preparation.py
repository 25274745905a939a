"""Preparation: from a study to its plan. What can be wrong with it and its data is found here, before any training."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from corpuscle.core.components import guarded
from corpuscle.core.errors import ModelError, StudyError
from corpuscle.core.scores import IN_PLACE
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.overlap import Copies
from corpuscle.corpus.split import Watch
from corpuscle.evaluation.task import refuse_absent_columns
from corpuscle.model.imputer import model_imputer
from corpuscle.model.model import EmbedsKnownOnly, Model, too_few
from corpuscle.model.training.stepping import ChoosesRate, RateSchedule
from corpuscle.source.features import in_words
from corpuscle.source.genes import By, GeneSpace, gene_space, loss_table
from corpuscle.source.source import Source
from corpuscle.store import Store
from corpuscle.study import labels, overlaps
from corpuscle.study.donors import shared_donors
from corpuscle.study.drawing import all_fit, draw_corpora
from corpuscle.study.findings import Findings
from corpuscle.study.former_names import refuse_former_names
from corpuscle.study.gene_checks import counts_kept, lost_sources
from corpuscle.study.known_counts import check_counts
from corpuscle.study.known_targets import KnownTargets, warnings_of
from corpuscle.study.opening import (
    Notice,
    copies_of,
    filtered,
    match_genes,
    open_sources,
    space_by_place,
    split,
    survey_sources,
    targets_of,
)
from corpuscle.study.plan import Plan
from corpuscle.study.relabelling import relabel
from corpuscle.study.replicates import replicate_warnings
from corpuscle.study.seen import seen_of
from corpuscle.study.spec import Study


def prepare(study: Study | Path | str, store: Store | None = None, notice: Notice | None = None) -> Plan:
    """Open a study's data and plan all of it.

    Each stage goes as far as what came before allows, so that everything that is wrong is said at once.

    Parameters
    ----------
    study
        A study, or the path of a study file.
    store
        Where surveys of sources and their principal components are kept, so that they need not be made again.
    notice
        Called with what is being done.

    Raises
    ------
    StudyError
        With everything that is wrong, each with its place in the study file.
    """
    study = study if isinstance(study, Study) else Study.read(study)
    if study.spec.mixture is not None:
        message = "a study of mixtures makes its corpora in stages: `corpuscle recommend STUDY -o DIR` does it"
        raise StudyError([study.problem("mixture", message)])
    findings, notice = Findings(study), notice or (lambda _what, _share: None)
    opened = open_sources(findings, notice)
    opened, relabelled = relabel(findings, opened)
    refuse_former_names(findings, opened, relabelled)
    names = {name: source.gene_names for name, source in opened.items()}
    matched = match_genes(findings, names, opened)
    space, by = matched or (space_by_place(names), "symbol")
    # What is found of genes that do not match is not kept.
    store = store if matched else None
    can_hold = all_fit(findings, space if matched else None, len(space))
    surveys = survey_sources(findings, opened, space, store, notice)
    if matched:
        for place, message in lost_sources(study.spec.genes, names, space, surveys, by):
            findings.refuse(place, message)
        _check_tasks(findings, space)
    union = gene_space(names, "union", by) if matched else space
    copies = copies_of(findings, opened, union, store, notice)
    sources, quality = filtered(findings, opened, surveys, copies)
    pools, held = split(findings, sources, space)
    targets = targets_of(findings, held)
    pools, sources, quality = overlaps.without_copies(study, pools, targets, copies, (sources, quality))
    corpora, draws = dict[tuple[str, int], Corpus](), pd.DataFrame()
    # A step may train a model as soon as its corpus is drawn.
    if can_hold:
        context = Context(pools, study.folder, model_imputer, store, notice)
        corpora, draws = draw_corpora(findings, pools, context)
    _check_leaks(findings, targets, corpora, copies)
    for found in shared_donors(study, sources, pools, targets, corpora):
        (findings.refuse if found.certain else findings.warn)(found.place, found.message)
    _check_sizes(findings, corpora)
    _check_columns(findings, targets, corpora)
    if not findings.problems:
        check_counts(findings, space, pools, corpora)
        seen = seen_of(findings, opened, (targets, corpora, copies), store, notice)
    findings.stop()
    _remark(findings, opened, targets, corpora)
    for place, message in _unreached_rates(study, corpora):
        findings.warn(place, message)
    for name, key, message in replicate_warnings(study, draws, corpora):
        findings.warn(findings.of_corpus(name) if name else key, message)
    warnings = tuple(dict.fromkeys(findings.warnings))
    genes = _gene_table(opened, sources, surveys, space, by)
    return Plan(study, sources, by, space, genes, quality, pools, targets, corpora, warnings, draws, relabelled, seen)


def _check_tasks(findings: Findings, space: GeneSpace) -> None:
    """Refuse tasks that cannot be asked of the study's genes, and note what they warn of."""
    for at, task in enumerate(findings.study.tasks):
        with findings.noting(f"tasks[{at}]"), guarded(task.task):
            for message in task.task.check(space):
                findings.warn(f"tasks[{at}]", message)


def _check_columns(
    findings: Findings, targets: Mapping[str, Corpus], corpora: Mapping[tuple[str, int], Corpus]
) -> None:
    """Refuse tasks that ask about a column which none of their cells has."""
    first = {name: corpus for (name, seed), corpus in corpora.items() if seed == findings.study.seeds[0]}
    for at, task in enumerate(findings.study.tasks):
        asked = {name: targets[name] for name in task.targets if name in targets}
        # In place, corpora are asked.
        asked |= first if IN_PLACE in task.targets and IN_PLACE not in targets else {}
        with findings.noting(f"tasks[{at}]"):
            refuse_absent_columns(task.task, asked)


def _check_leaks(
    findings: Findings,
    targets: Mapping[str, Corpus],
    corpora: Mapping[tuple[str, int], Corpus],
    copies: Copies,
) -> None:
    """Refuse corpora that have cells of targets, or copies of them."""
    drawn: dict[str, list[Corpus]] = {}
    for (name, _), corpus in corpora.items():
        drawn.setdefault(name, []).append(corpus)
    watch = Watch(targets.values(), copies, overlaps.keeping(findings.study))
    for name, of_recipe in drawn.items():
        with findings.noting(place := findings.of_corpus(name)):
            for found in watch.check(of_recipe):
                findings.warn(place, f'{found}; near_duplicates = "keep" lets that be')


def _check_sizes(findings: Findings, corpora: Mapping[tuple[str, int], Corpus]) -> None:
    """Refuse corpora that have too few cells, or other labels than they need, for some of the models."""
    models = {model.label: model.model for model in findings.study.models}
    for (name, _), corpus in corpora.items():
        fewest = {}
        for label, model in models.items():
            with guarded(model):
                fewest[label] = model.fewest_cells
        if lacking := {label: least for label, least in fewest.items() if corpus.n_cells < least}:
            message = too_few(corpus.n_cells, max(lacking.values()), name, *lacking)
            findings.refuse(findings.of_corpus(name), message)
        for label in [label for label in models if label not in lacking]:
            try:
                with guarded(models[label]):
                    models[label].check_corpus(corpus)
            except ModelError as error:
                findings.refuse(findings.of_corpus(name), f"model {label!r}: {error}")


def _remark(
    findings: Findings,
    opened: Mapping[str, Source],
    targets: Mapping[str, Corpus],
    corpora: Mapping[tuple[str, int], Corpus],
) -> None:
    """Warn of scores on other genes, and of labels that are likely not what they seem."""
    first = {name: corpus for (name, seed), corpus in corpora.items() if seed == findings.study.seeds[0]}
    for name, message in warnings_of(targets, first, KnownTargets(targets)).items():
        findings.warn(findings.of_target(name), message)
    for name, source in opened.items():
        for remark in source.remarks:
            findings.warn(f"sources.{name}", remark)
    for place, message in labels.remarks(findings.study, targets, first):
        findings.warn(place, message)
    for at, model in enumerate(findings.study.models):
        if isinstance(model.model, EmbedsKnownOnly) and (label := model.model.known_only):
            for message in labels.unseen(label, targets, first):
                findings.warn(f"models[{at}]", message)


def _unreached_rates(study: Study, corpora: Mapping[tuple[str, int], Corpus]) -> Iterator[tuple[str, str]]:
    """Yield the models whose learning rate has no time to rise on some corpora, by place, with what to say."""
    n_cells = {name: corpus.n_cells for (name, _), corpus in corpora.items()}
    for at, model in enumerate(study.models):
        with guarded(model.model):
            n_steps = {name: model.model.n_steps(n) for name, n in n_cells.items()}
            rates = {name: _rate(model.model, n) for name, n in n_cells.items()}
        doubts = {name: doubt for name, n in n_steps.items() if (rate := rates[name]) and (doubt := rate.doubt(n))}
        if doubts:
            fewest = min(doubts, key=n_steps.__getitem__)
            more = f" and {len(doubts) - 1:,} more" if len(doubts) > 1 else ""
            yield f"models[{at}]", f"on corpus {fewest!r}{more}, {doubts[fewest]}"


def _rate(model: Model, n_cells: int) -> RateSchedule | None:
    """Return the course of a model's learning rate on so many cells; None where it has no such."""
    rate = model.rate_on(n_cells) if isinstance(model, ChoosesRate) else getattr(model, "rate_schedule", None)
    return rate if isinstance(rate, RateSchedule) else None


def _gene_table(
    opened: Mapping[str, Source],
    sources: Mapping[str, Source],
    surveys: Mapping[str, pd.DataFrame],
    space: GeneSpace,
    by: By,
) -> pd.DataFrame:
    """Return what each source lost on the way to the study's genes; see `Plan`."""
    genes = loss_table({name: source.gene_names for name, source in opened.items()}, space, by)
    genes["counts_kept"] = [counts_kept(surveys[source]) for source in genes["source"]]
    genes["left_out"] = [in_words(sources[source].reader.about_genes().left_out) for source in genes["source"]]
    return genes
