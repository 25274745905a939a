"""The JSON schema of the study file says what the study file may say, by an independent validator."""

import copy
import json
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from corpuscle.cli import app
from corpuscle.core import components
from corpuscle.study.json_schema import KINDS, study_schema
from repository import ROOT

STUDIES = sorted((ROOT / "studies").rglob("*.toml"))
SOUND = {
    "name": "sound",
    "seeds": {"draws": 2, "fits": 2},
    "sources": {"a": {"path": ["a.h5ad", "b.h5ad"], "counts": "raw"}, "b": {"dataset": "pbmc3k"}},
    "quality": {"min_counts": 5},
    "holdout": {"a": {"by": "donor", "share": 0.2}},
    "corpora": [
        {
            "name": "A",
            "parts": [
                {"source": "a", "n_cells": 5},
                {"source": "a", "fraction": 0.5, "sampler": "mine:Sampler", "k": 1},
            ],
            "steps": [{"alteration": "downsample", "keep": 0.1, "types": ["B"]}],
        }
    ],
    "models": [
        {"name": "ldvae", "budget": "published"},
        {"name": "geneformer", "size": "tiny"},
        {"name": "my:Model"},
        "pca",
        "my:Other",
    ],
    "tasks": [{"name": "annotation", "on": ["a", {"source": "a", "where": "x == 1"}]}],
}


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = study_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.relative_to(ROOT / "studies").as_posix())
def test_every_study_of_the_repository_is_legal(path: Path, validator: Any) -> None:
    validator.validate(tomllib.loads(path.read_text(encoding="utf-8")))


def test_the_demo_and_a_study_of_every_form_are_legal(validator: Any) -> None:
    validator.validate(tomllib.loads((files("corpuscle.study") / "demo.toml").read_text(encoding="utf-8")))
    validator.validate(SOUND)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("name",), 3),
        (("seeds",), 0),
        (("sede",), 1),
        (("sources", "b", "dataset"), "pbmc33k"),
        (("sources", "a", "pth"), "x"),
        (("quality", "min_count"), 5),
        (("holdout", "a", "share"), 2),
        (("corpora", 0, "parts", 0, "n_cells"), -1),
        (("corpora", 0, "parts", 0, "sampler"), "unifrom"),
        (("corpora", 0, "steps", 0, "keep"), 1.5),
        (("corpora", 0, "steps", 0, "kep"), 0.5),
        (("models", 0, "budget"), "for ever"),
        (("models", 0, "n_latent"), "ten"),
        (("models", 1, "size"), "tinny"),
        (("models", 3), "pcaa"),
        (("models", 3), "external"),
        (("tasks", 0, "on"), []),
        (("tasks", 0, "neighbours"), 5),
    ],
    ids=str,
)
def test_what_a_study_may_not_say_is_refused(place: tuple[str | int, ...], value: object, validator: Any) -> None:
    study: Any = copy.deepcopy(SOUND)
    at = study
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    assert not validator.is_valid(study)


def test_every_parameter_of_every_component_is_there_with_its_meaning() -> None:
    schema = study_schema()
    for kind, _ in KINDS.values():
        for name in components.names(kind):
            known = schema["$defs"][f"{kind.kind} {name}"]["properties"]
            for field in components.find(kind, name).__pydantic_fields__:  # type: ignore[attr-defined]
                assert len(known[field]["description"]) > 5, (name, field)


def test_the_command_writes_it(tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["schema"]).stdout
    CliRunner().invoke(app, ["schema", "-o", str(tmp_path / "study.schema.json")])
    written = (tmp_path / "study.schema.json").read_text(encoding="utf-8")
    assert written == printed
    assert json.loads(printed) == study_schema()
