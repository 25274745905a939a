"""The commands `corpuscle store …` and `corpuscle trace`, and what they show."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.tree import Tree

    from corpuscle.execution.upkeep import Contents, Freed, Kept

app = typer.Typer(name="store", help="Look after a store: what is in it, whether it is whole, and what nobody needs.")

StorePath = Annotated[
    Path, typer.Argument(metavar="PATH", help="A run's folder, or a store that runs share.", show_default=False)
]
# Of the scores of one origin, so many are shown.
MOST_SCORES = 20


@app.command("ls")
def ls(path: StorePath) -> None:
    """List the results: what each is, its size, when it was made, and which runs use it."""
    from corpuscle.execution.upkeep import Contents, open_store

    contents, rows = Contents(open_store(path)), []
    for one in sorted(contents.kept.values(), key=lambda one: (one.kind, one.label, one.key)):
        made = _age(one.record.get("made"))
        rows.append((one.kind, one.key, in_bytes(one.n_bytes), made, one.label, _users(contents, one)))
    show(("kind", "key", "size", "made", "what", "used by"), rows)


@app.command("du")
def du(path: StorePath) -> None:
    """Show what takes how much of the disk: by kind, and by corpus and model."""
    from corpuscle.execution.upkeep import Contents, open_store, size_of

    store = open_store(path)
    contents, kinds = Contents(store), dict[str, tuple[int, int]]()
    for one in contents.kept.values():
        n, total = kinds.get(one.kind, (0, 0))
        kinds[one.kind] = n + 1, total + one.n_bytes
    rows = [(kind, f"{n:,}", in_bytes(size)) for kind, (n, size) in _largest(kinds, by=lambda value: value[1])]
    whole, known = size_of(store.root), sum(size for _, size in kinds.values())
    rows += [
        ("unfinished, records", "", in_bytes(whole - known)),
        ("in all", f"{len(contents.kept):,}", in_bytes(whole)),
    ]
    show(("kind", "results", "size"), rows)
    by_model = contents.bytes_by_model()
    if by_model:
        typer.echo("")
        show(("corpus", "model", "size"), [(*place, in_bytes(size)) for place, size in _largest(by_model)])


@app.command("verify")
def verify(path: StorePath) -> None:
    """Read every result, and compare it with its checksums; exit with 1 where something is damaged.

    Nothing is changed: the next run that needs what is damaged makes it again.
    """
    from corpuscle.execution.upkeep import Contents, open_store

    contents = Contents(open_store(path))
    damaged = contents.damaged()
    for one, why in damaged.items():
        users = _users(contents, one)
        what = "".join(f", {part}" for part in (one.label, f"used by {users}" if users else "used by no run") if part)
        _echo(f"{one.kind}/{one.key}{what}: {why}")
    lacking = {address for run in contents.runs for address in run.wants} - contents.kept.keys()
    if lacking:
        _echo(f"{len(lacking):,} results that runs use are not there (not made yet, or removed); a run makes them")
    n = len(contents.kept)
    if damaged:
        _echo(f"{len(damaged):,} of {n:,} results are damaged; the run that needs them makes them again")
        raise typer.Exit(1)
    _echo(f"{n:,} results, all whole")


@app.command("gc")
def gc(
    path: StorePath,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be removed.")] = False,  # noqa: FBT002
) -> None:
    """Remove what no run uses, and what processes that are gone left half-made."""
    from corpuscle.execution.upkeep import collect, open_store

    _show_freed(collect(open_store(path), dry_run=dry_run), dry_run=dry_run)


def _show_freed(freed: "Freed", *, dry_run: bool) -> None:
    for folder in freed.runs:
        _echo(f"{folder} is gone: what only it used is of no use")
    for run in freed.at_work:
        _echo(f"at work: {run}")
    if freed.left[0]:
        _echo(f"left, since a run at work may use it: {freed.left[0]:,} results, {in_bytes(freed.left[1])}")
    if freed.by_kind:
        rows = [(kind, f"{n:,}", in_bytes(size)) for kind, (n, size) in freed.by_kind.items()]
        show(("kind", "results", "size"), rows)
    _echo(f"{'Would free' if dry_run else 'Freed'} {in_bytes(sum(size for _, size in freed.by_kind.values()))}")


def trace(  # noqa: PLR0913, PLR0917  # typer's arguments
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.", show_default=False)],
    row: Annotated[int | None, typer.Option(metavar="N", help="The row in scores.parquet, from 0.")] = None,
    summary_row: Annotated[
        int | None, typer.Option(metavar="N", help="The row in scores_summary.csv, from 0 below its header.")
    ] = None,
    corpus: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N")] = None,
    task: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    target: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    metric: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    unit: Annotated[str | None, typer.Option(metavar="UNIT", help="all, or such as donor=d1.")] = None,
    way: Annotated[str | None, typer.Option(metavar="WAY", help="How the metric was found.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all that is known, as JSON.")] = False,  # noqa: FBT002
) -> None:
    """Print what a score comes from: files, rows, seed, versions, and the results in the store.

    Scores are chosen by row, or by any of the other options.
    """
    from corpuscle.execution.trace import trace as traced

    given = {"corpus": corpus, "model": model, "seed": seed, "task": task, "target": target}
    given |= {"metric": metric, "unit": unit, "way": way}
    chosen = {name: value for name, value in given.items() if value is not None}
    found = traced(folder, row=row, summary_row=summary_row, **chosen)
    if as_json:
        import json

        typer.echo(json.dumps(found, indent=1, allow_nan=False))
        return
    from rich.console import Console

    from corpuscle.core.text import MESSAGE

    # A tree is cut at the console's width; names of files and fingerprints are to be read, and copied.
    console = Console(width=MESSAGE, highlight=False)
    for one in found:
        console.print(_tree(one), soft_wrap=True)


def _tree(found: Mapping[str, Any]) -> "Tree":
    """Lay out what one origin's scores come from."""
    import json

    from rich.tree import Tree

    title = f"{found['task']} on {found['target']}: {found['corpus']} · {found['model']} · seed {found['seed']}"
    tree = Tree(_plain(title))
    for score in found["scores"][:MOST_SCORES]:
        named = " · ".join(part for part in (score["metric"], score["unit"], score["way"]) if part)
        value = "n/a" if score["value"] is None else f"{score['value']:.6g}"
        why = f" ({score['reason']})" if score["reason"] else ""
        tree.add(_plain(f"row {score['row']}: {named} = {value}, of {score['n_cells']:,} cells{why}"))
    if len(found["scores"]) > MOST_SCORES:
        tree.add(f"… and {len(found['scores']) - MOST_SCORES:,} more rows")
    for name, result in found["results"].items():
        branch = tree.add(_plain(f"{name}: {_result(result)}"))
        settings = found["settings"].get({"scores": "task"}.get(name, name))
        if settings and name != "reference":
            branch.add(_plain(f"settings: {json.dumps(settings, ensure_ascii=False, default=str)}"))
        if "packages" in result:
            branch.add(_plain(_versions(result)))
    for what, name in (("trained on", "trained_on"), ("asked about", "asked_about")):
        _add_cells(tree, what, found[name], found["corpus"] if name == "trained_on" else found["target"])
    last = found["versions"]["last run"]
    if last.get("created"):
        tree.add(_plain(f"the folder's last run: {last['created']}, {_versions(last)}"))
    return tree


def _add_cells(tree: "Tree", what: str, cells: Mapping[str, Any], name: str) -> None:
    about = cells.get("recipe") or cells.get("description") or ""
    branch = tree.add(_plain(f"{what}: {name}{f': {about}' if about else ''}"))
    branch.add(_plain(f"cells: {_result(cells['result'])}"))
    for file in cells["files"]:
        rows = ""
        if file.get("n_rows"):
            rows = (
                f"{file['n_rows']:,} rows, of rows {file['first_row']:,} to {file['last_row']:,} (counted from 0), of "
            )
        elif "n_rows" in file:
            continue
        branch.add(_plain(f"{file['source']}: {rows}{file['path']}, content {file['content']}"))
    for made in cells.get("made_cells", []):
        branch.add(_plain(f"{made}: made by a step of the recipe"))
    if "cells" in cells:
        branch.add(_plain(f"each cell: {cells['cells']}"))


def _result(result: Mapping[str, Any]) -> str:
    if "key" not in result:
        return str(result["state"])
    made = f", made {result['made']} in {result['seconds']:,.1f} s" if "made" in result else ""
    state = "" if result["state"] == "whole" else f"; {result['state']}"
    return f"{result['kind']}/{result['key']}{made}{state}"


def _versions(found: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {value}" for name, value in (found.get("packages") or {}).items())
    return f"corpuscle {found.get('corpuscle')}, Python {found.get('python')}, {packages}"


def _users(contents: "Contents", one: "Kept") -> str:
    runs = contents.users[one.address]
    return ", ".join(dict.fromkeys(run.study for run in runs[:3])) + (f" and {len(runs) - 3} more" if runs[3:] else "")


def _largest(sizes: Mapping[Any, Any], by: Any = None) -> list[tuple[Any, Any]]:
    return sorted(sizes.items(), key=lambda item: by(item[1]) if by else item[1], reverse=True)


def in_bytes(n_bytes: int) -> str:
    """Write bytes for people.

    Examples
    --------
    >>> in_bytes(999), in_bytes(1_234_567)
    ('999 B', '1.2 MB')
    """
    left, unit = float(n_bytes), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if left < 1000 or unit == "TB":
            break
        left /= 1000
    return f"{left:.0f} B" if unit == "B" else f"{left:.1f} {unit}"


def _age(made: object) -> str:
    """Return how long ago a record says that a result was made."""
    from datetime import UTC, datetime

    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(str(made))).total_seconds()
    except (ValueError, TypeError):
        return "not recorded"
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(0, seconds):.0f} seconds ago"


def show(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table whole, with texts from data as they stand."""
    from corpuscle.core.text import shown

    texts = [[shown(cell, 200).replace("\n", " ") for cell in row] for row in ([*columns], *rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _echo(text: str) -> None:
    from corpuscle.core.text import shown

    typer.echo(shown(text))


def _plain(text: str) -> str:
    """Return a text as rich prints it as it stands."""
    from rich.markup import escape

    from corpuscle.core.text import shown

    return escape(shown(text))
