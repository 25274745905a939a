"""What contract tests build a component with, so that a new one needs no line in any of them."""

import ast
import dataclasses
import doctest
import sys
from typing import Any

from corpuscle.core import components
from corpuscle.core.components import Component
from corpuscle.model.model import Model
from repository import ROOT

# What some built-in models would take long without, or need on a machine.
QUICKER: dict[str, dict[str, Any]] = {
    "external": {
        "command": [sys.executable, "-I", "{script}", "{cells}", "{embedding}"],
        "files": {"script": str(ROOT / "docs" / "examples" / "external_projection.py")},
    },
    "contrastive": {"across": "", "widths": [32, 16], "n_latent": 8},
    "masked_autoencoder": {"widths": [32, 16, 8]},
    "logistic_regression": {"max_rounds": 5000},
    "untrained": {"model": {"name": "ldvae", "n_hidden": 8}},
}


def example(kind: type[Component], name: str) -> dict[str, Any]:
    """Settings that a component can be built with: none, or what the first example in its docstring gives it."""
    cls = components.find(kind, name)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # by @component
    required = [field.name for field in fields if dataclasses.MISSING is field.default is field.default_factory]
    if not required:
        return {}
    for one in doctest.DocTestParser().get_examples(cls.__doc__ or ""):
        for node in ast.walk(ast.parse(one.source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == cls.__name__:
                return {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in node.keywords}
    needs = " and ".join(required)
    raise AssertionError(f"{name} cannot be built without {needs}: give its docstring an example that builds one")


def small(name: str) -> Model:
    """Build a model with the smallest budget that it has."""
    has_budget = "budget" in {field.name for field in dataclasses.fields(components.find(Model, name))}  # type: ignore[arg-type]
    settings = QUICKER.get(name) or example(Model, name)
    return components.build(Model, name, settings | ({"budget": {"steps": 3}} if has_budget else {}))
