"""Pages of components: what each is, its parameters with defaults and meanings, examples, and what it finds."""

import ast
import doctest
import json
from collections.abc import Iterable
from typing import Any

from corpuscle.core import components
from corpuscle.core.component_text import examples, meanings, parameters, references, summary
from corpuscle.core.components import Component
from corpuscle.core.scores import Metric
from corpuscle.measures.measure import Measure
from corpuscle.source.source import dataset_facts, dataset_names

BETTER = {"higher": "higher", "lower": "lower", "zero": "nearer to 0", "none": "neither"}
SCALES = {"share": "0 to 1", "correlation": "−1 to 1", "positive": "0 and more", "real": "any"}


def components_of(kind: type[Component]) -> str:
    """Return the sections of all components of a kind, as Markdown."""
    return "\n\n".join(_section(kind, name) for name in components.names(kind))


def measures() -> str:
    """Return the sections of all measures: what each finds of a corpus."""
    found = ((name, components.find(Measure, name)) for name in components.names(Measure))
    return "\n\n".join(
        f"{_heading('measure', name)}\n\n{summary(cls)}\n\n{_metrics(cls.metrics)}" for name, cls in found
    )


def data_sets() -> str:
    """Return the sections of the data sets that come with the package."""
    return "\n\n".join(_data_set(name, dataset_facts(name)) for name in dataset_names())


def in_a_study(kind: type[Component], name: str) -> str:
    """Return how a study file names a component: with what its first example sets, where it needs anything.

    Examples
    --------
    >>> from corpuscle.corpus.alteration import Alteration
    >>> print(in_a_study(Alteration, "thin"))
    steps = [{ alteration = "thin", keep = 0.25 }]
    """
    settings = _example_settings(components.find(kind, name))
    if kind.kind == "sampler":
        return f"parts = [{_inline({'source': 'blood', 'n_cells': 500, 'sampler': name, **settings})}]"
    if kind.kind == "alteration":
        return f"steps = [{_inline({'alteration': name, **settings})}]"
    asked = {"on": ["blood"]} if kind.kind == "task" else {}
    rows = {"name": name, **settings, **asked}
    return "\n".join([f"[[{kind.kind}s]]", *(f"{key} = {_inline(value)}" for key, value in rows.items())])


def _inline(value: Any) -> str:
    """Return plain data as TOML in one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_inline(part)}" for key, part in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_inline(part) for part in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _heading(kind: str, name: str) -> str:
    return f"({kind}-{name.replace('_', '-')})=\n## `{name}`"


def _section(kind: type[Component], name: str) -> str:
    cls = components.find(kind, name)
    parts = [_heading(kind.kind, name), summary(cls)]
    texts = meanings(cls)
    if defaults := parameters(cls):
        rows = (f"`{line}`\n: {texts.get(field, '')}" for field, line in defaults.items())
        parts += ["**Parameters**", "\n\n".join(rows)]
    parts += ["**In a study file**", f"```toml\n{in_a_study(kind, name)}\n```"]
    if shown := examples(cls):
        parts += ["**In Python**", f"```pycon\n>>> from {cls.__module__} import {cls.__name__}\n{shown}\n```"]
    if found := getattr(cls, "metrics", ()):
        parts += ["**What it finds**", _metrics(found)]
    if followed := references(cls):
        parts += ["**References**", followed]
    return "\n\n".join(parts)


def _metrics(metrics: Iterable[Metric]) -> str:
    rows = ["| metric | title | what | better | values |", "|---|---|---|---|---|"]
    for metric in metrics:
        what = metric.meaning.replace("|", "\\|")
        rows.append(f"| `{metric.name}` | {metric.title} | {what} | {BETTER[metric.better]} | {SCALES[metric.scale]} |")
    return "\n".join(rows)


def _example_settings(cls: type[Component]) -> dict[str, Any]:
    """Return what the first example in a docstring builds the component with, where it has to be given anything."""
    if not any(line.endswith("(required)") for line in parameters(cls).values()):
        return {}
    for one in doctest.DocTestParser().get_examples(cls.__doc__ or ""):
        for node in ast.walk(ast.parse(one.source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == cls.__name__:
                return {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in node.keywords}
    raise ValueError(f"{cls.__name__} has parameters without a default, and no example in its docstring builds one")


def _data_set(name: str, facts: dict[str, Any]) -> str:
    rows = [
        ("cells × genes", f"{facts['n_cells']:,} × {facts['n_genes']:,}"),
        ("organism", facts["organism"]),
        ("tissue", ", ".join(facts["tissue"])),
        ("disease", ", ".join(facts["disease"])),
        ("assay", facts["assay"]),
        ("accession", facts.get("accession", "")),
        ("from", facts["citation"]),
        ("licence", facts["licence"]),
        ("notes", facts.get("notes", "")),
    ]
    # In backticks and stars, such texts would mean something in Markdown.
    table = "\n".join(f"| {key} | {_plain(value)} |" for key, value in rows if value)
    return f"{_heading('dataset', name)}\n\n{_plain(facts['title'])}.\n\n| | |\n|---|---|\n{table}"


def _plain(text: str) -> str:
    return str(text).replace("*", "\\*").replace("_", "\\_").replace("|", "\\|")
