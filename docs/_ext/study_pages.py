"""The page of studies: each file under ``studies/``, by what it says of itself.

Examples are files of their own; a published study is a folder with several, which `docs/published` has a page of.
"""

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STUDIES, PAGES = ROOT / "studies", ROOT / "docs" / "published"


def examples() -> str:
    """Return a section for each example: what it asks, of what, by which models and tasks, and the file itself."""
    return "\n\n".join(_section(path) for path in sorted(STUDIES.glob("*.toml")))


def published_studies() -> str:
    """Return a section for each published study: its page, and a line and the folded text of each of its files."""
    folders = sorted({path.parent for path in STUDIES.glob("*/*.toml")})
    return "\n\n".join(_folder(folder) for folder in folders)


def title_of(page: Path) -> str:
    """Return the heading of a page, without its mark."""
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ").strip()


def _folder(folder: Path) -> str:
    page = PAGES / f"{folder.name}.md"
    title = f"[{title_of(page)}](published/{page.name})" if page.exists() else f"`{folder.name}`"
    # Small files first: they run as they are.
    files = sorted(folder.glob("*.toml"), key=lambda path: (not path.name.startswith("small"), path.name))
    rows = [f"| `studies/{folder.name}/{path.name}` | {_line(path)} |" for path in files]
    table = "\n".join(["| file | asks |", "|---|---|", *rows])
    return "\n\n".join([f"### {title}", table, *(_folded(path, path.name) for path in files)])


def _line(path: Path) -> str:
    study = tomllib.loads(path.read_text(encoding="utf-8"))
    return str(study.get("question", study["name"])).replace("|", "\\|")


def _section(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    study = tomllib.loads(text)
    name = path.relative_to(STUDIES.parent).as_posix()
    comment = " ".join(line.removeprefix("#").strip() for line in _first_comment(text))
    rows = [
        ("sources", [_source(key, table) for key, table in study["sources"].items()]),
        ("corpora", [f"{table['name']}" for table in study.get("corpora", [])]),
        ("mixture of", study.get("mixture", {}).get("sources", [])),
        ("models", [f"`{table.get('label', table['name'])}`" for table in study.get("models", [])]),
        ("tasks", [f"`{table['name']}`" for table in study.get("tasks", [])]),
        ("seeds", [str(study.get("seeds", 3))]),
    ]
    table = "\n".join(f"| {key} | {', '.join(dict.fromkeys(values))} |" for key, values in rows if values)
    parts = [f"### {study['name']}", f"`{name}`. {comment}", f"*{study.get('question', study['name'])}*"]
    return "\n\n".join([*parts, f"| | |\n|---|---|\n{table}", _folded(path, "The file")])


def _folded(path: Path, summary: str) -> str:
    text = path.read_text(encoding="utf-8").strip()
    return f"<details><summary>{summary}</summary>\n\n```toml\n{text}\n```\n\n</details>"


def _first_comment(text: str) -> list[str]:
    lines = text.splitlines()
    end = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return lines[:end]


def _source(name: str, table: dict[str, Any]) -> str:
    from_ = f"`{table['dataset']}`" if "dataset" in table else "files of your own"
    return f"{name} ({from_})"
