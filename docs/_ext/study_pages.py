"""The page of the published studies: each file under ``studies/``, by what it says of itself."""

import tomllib
from pathlib import Path
from typing import Any

STUDIES = Path(__file__).resolve().parents[2] / "studies"


def studies() -> str:
    """Return a section for each study file: what it asks, of what, by which models and tasks, and the file itself."""
    return "\n\n".join(_section(path) for path in sorted(STUDIES.rglob("*.toml")))


def _section(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    study = tomllib.loads(text)
    name = path.relative_to(STUDIES.parent).as_posix()
    comment = " ".join(line.removeprefix("#").strip() for line in _first_comment(text))
    rows = [
        ("sources", [_source(key, table) for key, table in study["sources"].items()]),
        ("corpora", [f"{table['name']}" for table in study["corpora"]]),
        ("models", [f"`{table.get('label', table['name'])}`" for table in study.get("models", [])]),
        ("tasks", [f"`{table['name']}`" for table in study.get("tasks", [])]),
        ("seeds", [str(study.get("seeds", 3))]),
    ]
    table = "\n".join(f"| {key} | {', '.join(dict.fromkeys(values))} |" for key, values in rows if values)
    parts = [f"## {study['name']}", f"`{name}`. {comment}", f"*{study.get('question', study['name'])}*"]
    parts += [
        f"| | |\n|---|---|\n{table}",
        f"<details><summary>The file</summary>\n\n```toml\n{text.strip()}\n```\n\n</details>",
    ]
    return "\n\n".join(parts)


def _first_comment(text: str) -> list[str]:
    lines = text.splitlines()
    end = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return lines[:end]


def _source(name: str, table: dict[str, Any]) -> str:
    from_ = f"`{table['dataset']}`" if "dataset" in table else "files of your own"
    return f"{name} ({from_})"
