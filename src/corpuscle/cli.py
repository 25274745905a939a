"""The command line: thin functions around `corpuscle.execution.workflow`. Heavy imports wait until they are needed."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corpuscle import (
    label_commands,
    leaderboard_command,
    mixture_commands,
    model_commands,
    overlap_command,
    recommend_command,
    store_commands,
    value_commands,
)
from corpuscle.console import console as _console
from corpuscle.core.version import __version__
from corpuscle.options import ClusterOption, Output, StoreOption, StudyFile, Workers

if TYPE_CHECKING:
    from corpuscle import Results, Study

app = typer.Typer(
    name="corpuscle",
    help="Design, train on, and measure training corpora for single-cell models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Problems of a study that are printed at most, and about how many letters.
PROBLEMS, LETTERS = 200, 500_000


def _version(value: bool) -> None:  # noqa: FBT001  # typer's signature
    if value:
        _console().print(f"corpuscle {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,  # noqa: FBT002
) -> None:
    pass


@app.command()
def check(
    study: StudyFile,
    workers: Workers = None,
    pilot: Annotated[
        Path | None,
        typer.Option("--pilot", metavar="RUN", help="Folder of an earlier run, to say what the seeds can show."),
    ] = None,
    only_plan: Annotated[bool, typer.Option("--plan", help="Do not try it out to say how long it takes.")] = False,  # noqa: FBT002
) -> None:
    """Print what a study would do, how long it would take, and everything that is wrong with it.

    How long: everything is tried out on a few cells, for half a minute, and nothing of that is kept.
    """
    started = time.perf_counter()
    from corpuscle import Study, prepare, terminal
    from corpuscle.execution.rehearsal.estimate import estimate
    from corpuscle.execution.workflow import cores

    n_workers, read = workers or cores(), Study.read(study)
    if read.spec.mixture is not None:
        recommend_command.check(read, workers, only_plan=only_plan)
        return
    known = terminal.pilots_of(pilot) if pilot else None
    preparing = terminal.Preparing(_console(stderr=True))
    with preparing.progress:
        plan = prepare(read, notice=preparing.notice)
        prepared = time.perf_counter() - started
        expected = None if only_plan else estimate(plan, n_workers, preparing=prepared, notice=preparing.notice)
    terminal.show_plan(_console(), plan, expected, n_workers)
    terminal.show_power(_console(), plan, known)


@app.command("run")
def run_command(  # noqa: PLR0913, PLR0917  # typer's arguments
    study: StudyFile,
    output: Output,
    workers: Workers = None,
    store: StoreOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what is there and what would be made.")] = False,  # noqa: FBT002
    track: Annotated[
        str, typer.Option("--track", metavar="SERVICE", help="Also send scores to mlflow or wandb, by their clients.")
    ] = "",
    cluster: ClusterOption = None,
) -> None:
    """Do a study: draw corpora, train models, ask the tasks, write scores and report.

    Called again with the same folder, it does only what is missing.
    """
    from corpuscle import Study

    read = Study.read(study)
    if dry_run:
        from corpuscle import terminal
        from corpuscle.execution import workflow

        preparing = terminal.Preparing(_console(stderr=True))
        with preparing.progress:
            found = workflow.outline(read, output, store=store, notice=preparing.notice)
        terminal.show_outline(_console(), found)
        return
    _run(read, output, workers, store, track=track, cluster=cluster)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write into.")] = Path("demo"),
    workers: Workers = None,
    store: StoreOption = None,
    show: Annotated[bool, typer.Option("--print", help="Print the demo's study file and do nothing else.")] = False,  # noqa: FBT002
) -> None:
    """Do the main job on real cells that come with the package: what do other tissues add to a blood model."""
    from importlib.resources import files

    text = (files("corpuscle.study") / "demo.toml").read_text(encoding="utf-8")
    if show:
        typer.echo(text, nl=False)
        return
    from corpuscle import Study

    _run(Study.parse(text), output, workers, store)


def _run(  # all but four by name
    study: "Study",
    output: Path,
    workers: int | None,
    store: Path | None,
    *,
    track: str = "",
    cluster: str | None = None,
) -> None:
    from corpuscle import terminal
    from corpuscle.execution import tracking, workflow

    with (
        _resumable(),
        terminal.listening(_console(stderr=True)) as listener,
        tracking.sending(track, study, listener) as heard,
    ):
        results: Results = workflow.run(study, output, workers=workers, store=store, cluster=cluster, listener=heard)
    terminal.show_results(_console(), results)
    if results.failures:
        raise typer.Exit(1)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.", show_default=False)],
    pdf: Annotated[  # noqa: FBT002
        bool, typer.Option("--pdf", help="Print it as report.pdf, too; needs Chromium, Chrome, Edge or Brave.")
    ] = False,
    figures: Annotated[
        str,
        typer.Option("--figures", metavar="FORMS", help="Figures besides SVG: pdf, png; needs the extra plot."),
    ] = "",
) -> None:
    """Write a run's report again, from its scores; of a run that is not finished, from those that are there."""
    from corpuscle import render, terminal
    from corpuscle.execution.unfinished import gather

    if (missing := gather(folder)) is not None:
        terminal.show_missing(_console(), missing)
    page = render(folder, figures=[form.strip() for form in figures.split(",") if form.strip()])
    _console().print(f"Report: {page}", soft_wrap=True, markup=False)
    if pdf:
        from corpuscle.report.page.pdf import print_page

        printed = print_page(page, page.with_suffix(".pdf"))
        _console().print(f"PDF: {printed}", soft_wrap=True, markup=False)


@app.command()
def analyse(  # noqa: PLR0917  # typer's arguments
    scores: Annotated[
        Path, typer.Argument(metavar="SCORES", help="A table of scores: .csv, .tsv or .parquet.", show_default=False)
    ],
    output: Output,
    baseline: Annotated[
        str, typer.Option(metavar="CORPUS", help="What the others are compared with. Default: the first.")
    ] = "",
    control: Annotated[str, typer.Option(metavar="CORPUS", help="The size control.")] = "",
    margin: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=SIZE", help="Which difference is too small to matter; once per metric."),
    ] = None,
    mixed: Annotated[bool, typer.Option("--mixed-model", help="Also fit mixed models to scores of donors.")] = False,  # noqa: FBT002
) -> None:
    """Compare corpora by anybody's scores: intervals, tests, verdicts, and a report.

    A row per score, with the columns corpus, seed, metric and value; also model, task, target, donor, better (higher,
    lower) and scale (share, correlation, positive, real); with cells and ladder, learning curves are judged, too.
    """
    from corpuscle import analyse as analyse_scores
    from corpuscle.core.errors import InputError

    margins = {}
    for given in margin or []:
        metric, _, size = given.rpartition("=")
        if metric in margins:
            raise InputError(f"--margin: {metric!r} has two; give one of them")
        try:
            margins[metric] = float(size)
        except ValueError:
            raise InputError(f"--margin: expected METRIC=SIZE, such as macro_f1=0.02; got {given!r}") from None
    page = analyse_scores(scores, output, baseline=baseline, control=control, margins=margins, mixed=mixed)
    _console().print(f"Report: {page}", soft_wrap=True, markup=False)


@app.command()
def checkpoint(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A folder with published weights.", show_default=False)],
) -> None:
    """Print what a folder with published weights is, what of it would be loaded, and what is missing."""
    from corpuscle import terminal
    from corpuscle.core.errors import InputError, ModelError
    from corpuscle.model.families.inspection import inspected

    try:
        seen = inspected(path)
    except ModelError as error:
        # In a run, a model that fails is one of many; here, the folder is all there is.
        raise InputError(str(error)) from error
    terminal.show_checkpoint(_console(), seen)
    if seen.problem:
        raise typer.Exit(2)


@app.command("describe")
def describe_command(
    study: StudyFile,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Folder to write into: tables, figures and a page."),
    ] = None,
    workers: Workers = None,
    store: StoreOption = None,
) -> None:
    """Measure a study's corpora, and how well they cover its targets; train nothing.

    With a folder, it leaves the tables as parquet and CSV, the figures, and description.html. A later run of the study
    goes on there.
    """
    from corpuscle import Study, terminal
    from corpuscle.execution import workflow

    read = Study.read(study)
    preparing = terminal.Preparing(_console(stderr=True))
    with _resumable(), preparing.progress:
        measured = workflow.describe(read, output, workers=workers, store=store, notice=preparing.notice)
    terminal.show_measures(_console(), measured, list(dict.fromkeys(recipe.name for recipe in read.recipes)))
    if output is not None:
        _console().print(f"Page: {output / 'description.html'}", soft_wrap=True, markup=False)
    if measured.failures:
        raise typer.Exit(1)


@app.command("compose")
def compose_command(  # noqa: PLR0917  # typer's arguments
    study: StudyFile,
    output: Output,
    corpus: Annotated[str | None, typer.Option("--corpus", metavar="NAME", help="Only this corpus.")] = None,
    form: Annotated[str, typer.Option("--format", metavar="FORM", help="h5ad, or zarr (version 3, sharded).")] = "h5ad",
    workers: Workers = None,
    store: StoreOption = None,
) -> None:
    """Write a study's corpora as .h5ad or zarr with their manifests; train nothing.

    Counts are streamed, so a corpus need not fit in memory. Called again with the same folder, it goes on where it
    stopped.
    """
    from corpuscle import terminal
    from corpuscle.core.text import shown
    from corpuscle.execution import workflow

    preparing = terminal.Preparing(_console(stderr=True))
    with _resumable(), preparing.progress:
        written = workflow.compose(
            study, output, only=corpus, form=form, workers=workers, store=store, notice=preparing.notice
        )
    for path in written:
        for remark in terminal.remarks_on(path):
            typer.echo(shown(remark), err=True)
        typer.echo(path)


@app.command(name="list")
def list_(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND|NAME]",
            help="datasets, samplers, alterations, models or tasks; or one of these, such as ldvae, for all about it.",
        ),
    ] = None,
) -> None:
    """List what a study file can name: data sets with their provenance, samplers, alterations, models and tasks."""
    from corpuscle import terminal

    terminal.show_components(_console(), what)


@app.command()
def schema(
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="A file to write; by default it is printed."),
    ] = None,
) -> None:
    """Write the JSON schema of the study file, by which editors complete and check it.

    Begin the study file with a line such as: #:schema ./study.schema.json
    """
    import json

    from corpuscle.store import write_text
    from corpuscle.study.json_schema import study_schema

    text = json.dumps(study_schema(), indent=1) + "\n"
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_text(output, text)


app.command("labels")(label_commands.labels)
app.command("mixture")(mixture_commands.mixture)
app.command("leaderboard")(leaderboard_command.leaderboard)
app.command("recommend")(recommend_command.recommend)
app.command("value")(value_commands.value)
app.command("advise")(value_commands.advise)
app.command("trace")(store_commands.trace)
app.command("overlap")(overlap_command.overlap)
app.add_typer(store_commands.app)
app.add_typer(model_commands.app)


@contextmanager
def _resumable() -> Iterator[None]:
    """On Ctrl-C, say that the same command goes on; typer would end without a word."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Stopped. Nothing is lost: the same command goes on with what is missing.", err=True)
        raise typer.Exit(130) from None


def main() -> None:
    """Run the command line: bad input ends in one message and exit code 2, all else that fails in 1, Ctrl-C in 130."""
    from corpuscle.core.errors import CorpuscleError, InputError

    try:
        app()
    except InputError as error:
        _fail(error, code=2)
    except CorpuscleError as error:
        _fail(error, code=1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except MemoryError:
        typer.echo("Error: the memory is full; use a machine with more, or a smaller study. Nothing is lost.", err=True)
        sys.exit(1)
    except Exception as error:
        typer.echo(f"Error: {_unexpected(error)}", err=True)
        sys.exit(1)


def _unexpected(error: Exception) -> str:
    """Describe an error that nothing foresaw: a disk that refuses, or else a fault of ours whose traceback is kept."""
    import tempfile
    import traceback

    from corpuscle.core.disk import refusal

    gist = f"{type(error).__name__}: {error}"
    if refusal(error) is not None:
        return f"{gist}; a disk refused it. Make room there or allow it, and run the same command again"
    try:
        with tempfile.NamedTemporaryFile("wb", prefix="corpuscle-", suffix=".txt", delete=False) as log:
            log.write("".join(traceback.format_exception(error)).encode())
    except OSError:
        return f"{gist}. This is a fault of Corpuscle; please report it"
    return f"{gist}. This is a fault of Corpuscle; please report it with {log.name}, which says where"


def _fail(error: Exception, code: int) -> None:
    from corpuscle.core.errors import StudyError
    from corpuscle.core.text import shown

    if isinstance(error, StudyError):
        n = len(error.problems)
        typer.echo(f"{n} problem{'s' if n > 1 else ''}:", err=True)
        said = 0
        for at, problem in enumerate(error.problems):
            if at >= PROBLEMS or said > LETTERS:
                typer.echo(f"  … and {n - at:,} more", err=True)
                break
            typer.echo(line := f"  {shown(problem)}", err=True)
            said += len(line)
    else:
        typer.echo(f"Error: {shown(error)}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
