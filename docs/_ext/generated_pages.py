"""What is generated: a comment such as ``<!-- generated: samplers -->`` in a page is replaced when the site is built.

Nothing generated is kept in the repository, so it cannot differ from the code. Texts are those of
`corpuscle.core.component_text`, which ``corpuscle list NAME`` prints, too.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from command_line_page import command_line
from component_pages import components_of, data_sets, measures
from sphinx.application import Sphinx
from study_pages import examples, published_studies

from corpuscle.corpus.alteration import Alteration
from corpuscle.corpus.sampler import Sampler
from corpuscle.evaluation.task import Task
from corpuscle.model.model import Model
from corpuscle.study.json_schema import study_schema

GENERATED: dict[str, Callable[[], str]] = {
    "samplers": lambda: components_of(Sampler),
    "alterations": lambda: components_of(Alteration),
    "models": lambda: components_of(Model),
    "tasks": lambda: components_of(Task),
    "measures": measures,
    "datasets": data_sets,
    "command line": command_line,
    "example studies": examples,
    "published studies": published_studies,
}
MARK = re.compile(r"<!-- generated: ([\w ]+) -->")
SCHEMA = "study.schema.json"


def with_generated(text: str) -> str:
    """Return a page's text with what its comments stand for; an unknown comment is an error."""
    return MARK.sub(lambda mark: GENERATED[mark[1]](), text)


def _fill(_: Sphinx, __: str, source: list[str]) -> None:
    source[0] = with_generated(source[0])


def _publish_schema(app: Sphinx, _: Exception | None) -> None:
    """Write the study file's schema next to the pages; the same as ``corpuscle schema`` writes."""
    text = json.dumps(study_schema(), indent=1) + "\n"
    (Path(app.outdir) / SCHEMA).write_text(text, encoding="utf-8")


def _regenerate(_: Sphinx, env: Any, *__: Any) -> list[str]:
    """Read pages with generated parts anew in each build: code that they show may have changed."""
    return [page for page in env.found_docs if MARK.search(Path(env.doc2path(page)).read_text(encoding="utf-8"))]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what is done at reading and after writing."""
    app.connect("source-read", _fill)
    app.connect("env-get-outdated", _regenerate)
    app.connect("build-finished", _publish_schema)
    return {"version": "1", "parallel_read_safe": True}
