"""Listing: what a study file can name, and all about one of it."""

import pandas as pd
from rich.console import Console
from rich.padding import Padding

from corpuscle.core import components
from corpuscle.core.component_text import examples, meanings, parameters, references, summary
from corpuscle.core.components import Component, legal_names
from corpuscle.core.errors import ComponentError
from corpuscle.corpus.alteration import Alteration
from corpuscle.corpus.sampler import Sampler
from corpuscle.evaluation.task import Task
from corpuscle.model.model import Model
from corpuscle.source.source import dataset_facts, dataset_names
from corpuscle.terminal.printing import escape, print_table

KINDS: dict[str, type[Component]] = {"samplers": Sampler, "alterations": Alteration, "models": Model, "tasks": Task}


def show_components(console: Console, what: str | None) -> None:
    """List what a study file can name, of one kind or of all; or show all about what has a name.

    Raises
    ------
    ComponentError
        When there is no such kind, and nothing of that name.
    """
    kinds = ["datasets", *KINDS]
    if what is None or what in kinds:
        for kind in [what] if what else kinds:
            table = _datasets_table() if kind == "datasets" else _components_table(KINDS[kind])
            print_table(console, kind.capitalize(), table)
        return
    found = [cls for cls in KINDS.values() if what in [*components.names(cls), *components.installed(cls)]]
    if not found and ":" in what:
        found = [cls for cls in KINDS.values() if _is_a(cls, what)]
    if what in dataset_names():
        print_table(console, what, _datasets_table().query("name == @what"))
    for cls in found:
        _show_component(console, cls, what)
    if not found and what not in dataset_names():
        legal = [*kinds, *dataset_names(), *(name for kind in KINDS.values() for name in components.names(kind))]
        raise ComponentError(f"there is nothing called {what!r}; {legal_names(what, legal)}")


def _is_a(kind: type[Component], name: str) -> bool:
    try:
        components.find(kind, name)
    except ComponentError as error:
        if "cannot import" in str(error):
            raise
        return False
    return True


def _show_component(console: Console, kind: type[Component], name: str) -> None:
    """Show a component's docstring, and what each parameter may be; the documentation has the same text."""
    cls = components.find(kind, name)
    console.print(f"[bold]{escape(name)}[/bold] ({kind.kind})\n")
    console.print(escape(_plain_text(summary(cls))), soft_wrap=True)
    defaults, texts = parameters(cls), meanings(cls)
    if defaults:
        console.print("\n[bold]Parameters[/bold]")
    for field, parameter in defaults.items():
        console.print(escape(parameter), soft_wrap=True)
        console.print(Padding(escape(_plain_text(texts.get(field, ""))), (0, 0, 0, 4)))
    if shown_examples := examples(cls):
        console.print(f"\n[bold]Examples[/bold]\n{escape(shown_examples)}", soft_wrap=True)
    if followed := references(cls):
        console.print(f"\n[bold]References[/bold]\n{escape(_plain_text(followed))}", soft_wrap=True)


def _plain_text(text: str) -> str:
    return text.replace("``", "`")


def _datasets_table() -> pd.DataFrame:
    rows = []
    for name in dataset_names():
        facts = dataset_facts(name)
        size = f"{facts['n_cells']:,} × {facts['n_genes']:,}"
        origin = f"{facts['citation']} ({facts['licence']})"
        rows.append({"name": name, "cells × genes": size, "what": facts["title"], "from": origin})
    return pd.DataFrame(rows)


def _components_table(kind: type[Component]) -> pd.DataFrame:
    rows = []
    for name in [*components.names(kind), *components.installed(kind)]:
        try:
            cls = components.find(kind, name)
        except ComponentError as error:
            # What another package offers, and which cannot be had.
            rows.append({"name": name, "what": str(error), "parameters": ""})
            continue
        what = summary(cls).partition("\n")[0]
        rows.append({"name": name, "what": what, "parameters": ", ".join(parameters(cls).values())})
    return pd.DataFrame(rows)
