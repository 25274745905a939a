"""Schema: the study file's tables and all components as a JSON schema, by which editors complete and check a file."""

import json
from typing import Any

from pydantic import TypeAdapter

from corpuscle.core import components
from corpuscle.core.component_text import meanings
from corpuscle.core.components import Component
from corpuscle.corpus.alteration import Alteration
from corpuscle.corpus.sampler import Sampler
from corpuscle.corpus.split import Holdout
from corpuscle.evaluation.task import Task
from corpuscle.model.model import Model
from corpuscle.source.quality import Quality
from corpuscle.source.source import dataset_names
from corpuscle.study.tables import StudySpec

Schema = dict[str, Any]
# Draft 7 is what editors' TOML support knows (taplo, Even Better TOML, PyCharm).
DIALECT = "http://json-schema.org/draft-07/schema#"
# By which key each table names its component; of a sampler, there is a default.
KINDS: dict[str, tuple[type[Component], str]] = {
    "PartSpec": (Sampler, "sampler"),
    "StepSpec": (Alteration, "alteration"),
    "ModelSpec": (Model, "name"),
    "TaskSpec": (Task, "name"),
}


def study_schema() -> Schema:
    """Return the JSON schema of the study file, as plain data.

    A table that names a component has that component's parameters, with their meanings; one that is named
    ``module:Class`` may have any.

    Examples
    --------
    >>> schema = study_schema()
    >>> sorted(schema["required"])
    ['models', 'name', 'sources']
    >>> schema["$defs"]["model ldvae"]["properties"]["n_latent"]["default"]
    10
    """
    schema = StudySpec.model_json_schema()
    shared: Schema = schema["$defs"]
    for table, (kind, key) in KINDS.items():
        own = shared[table]["properties"]
        required = shared[table].get("required", [])
        variants: list[Schema] = []
        for name in [*components.names(kind), *components.installed(kind)]:
            title = f"{kind.kind} {name}"
            variant = _variant(components.find(kind, name), shared, title)
            variant["properties"] = {**own, key: {"const": name}, **variant["properties"]}
            is_default = own[key].get("default") == name
            variant["required"] = [*required, *([] if is_default or key in required else [key]), *variant["required"]]
            shared[title] = {**variant, "title": title}
            variants.append({"$ref": _pointer(title)})
        elsewhere = {**own, key: {"type": "string", "pattern": ":", "description": "Your own: module:Class."}}
        named = [*dict.fromkeys([*required, key])]
        others: Schema = {"type": "object", "properties": elsewhere, "required": named}
        shared[table] = {"anyOf": [*variants, others]}
    schema["properties"]["models"]["items"] = {"anyOf": [{"$ref": _pointer("ModelSpec")}, _bare_models(shared)]}
    of_quality = _variant(Quality, shared, "quality")
    shared["quality"] = {**of_quality, "title": "quality"}
    schema["properties"]["quality"] = {"$ref": _pointer("quality")}
    shared["SourceSpec"]["properties"]["quality"] = {"$ref": _pointer("quality")}
    shared["SourceSpec"]["properties"]["dataset"] = {"enum": [*dataset_names()]}
    shared["holdout"] = {**_variant(Holdout, shared, "holdout"), "title": "holdout"}
    schema["properties"]["holdout"]["additionalProperties"] = {"$ref": _pointer("holdout")}
    either = [{"required": ["corpora"]}, {"required": ["mixture"]}]
    return {"$schema": DIALECT, **schema, "anyOf": either, "title": "Corpuscle study file"}


def _bare_models(shared: Schema) -> Schema:
    """Return the schema of a model by its name alone: one that can do without parameters, or one of the user's."""
    names = [*components.names(Model), *components.installed(Model)]
    return {"anyOf": [
        {"enum": [name for name in names if set(shared[f"model {name}"]["required"]) <= {"name"}]},
        {"type": "string", "pattern": ":"},
    ]}  # fmt: skip


def _pointer(name: str) -> str:
    return f"#/$defs/{name.replace(' ', '%20')}"


def _variant(cls: type, shared: Schema, title: str) -> Schema:
    """Return the schema of a component's parameters, each with its meaning; what it is made of goes to `shared`."""
    found = TypeAdapter(cls).json_schema()
    for name, text in meanings(cls).items():
        found.get("properties", {}).get(name, {})["description"] = text
    for name, part in found.pop("$defs", {}).items():
        described, shared_name = _described(part), name
        if shared.get(name, described) != described:
            # Several models have a Size, each its own.
            shared_name = f"{title} {name}"
            found = json.loads(json.dumps(found).replace(f'"#/$defs/{name}"', json.dumps(_pointer(shared_name))))
        shared[shared_name] = described
    empty: Schema = {"required": [], "properties": {}}
    return {**empty, **_described(found)}


def _described(schema: Schema) -> Schema:
    """Shorten a class' description to its first sentences; its parameters have descriptions of their own."""
    text = str(schema.get("description", ""))
    return {**schema, "description": text.partition("\n\n")[0]} if text else schema
