"""Links to files of the repository: to their page where the site has one, else to the repository, else plain text.

Pages link to each other and to sources as a reader of the repository needs it: ``[house](design/house.md)``,
``[uniform.py](../src/corpuscle/corpus/samplers/uniform.py)``. The site has pages only of what is in this folder, and of
the files in `INCLUDED`. A link to any other file or folder leads to the repository, where ``pyproject.toml`` says where
that is (``[project.urls]``, ``Repository``); otherwise the link's text stays, without a link. A link to what is not
there is left as it is: Sphinx warns of it.
"""

import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
# Pages that show a file from outside this folder: page -> file.
INCLUDED = {"contributing": "CONTRIBUTING.md", "reference/changelog": "CHANGELOG.md"}


def repository_url() -> str:
    """Return where the repository is, without a slash at the end; empty where the package does not say."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project.get("urls", {}).get("Repository", "")).rstrip("/")


def target_of(page: str, destination: str) -> Path | None:
    """Return the file or folder that a page's link leads to; None where there is none, or it is outside.

    Examples
    --------
    >>> target_of("design/house", "artifacts.md#a-study").relative_to(ROOT).as_posix()
    'docs/design/artifacts.md'
    >>> target_of("contributing", "docs/measures.md").relative_to(ROOT).as_posix()
    'docs/measures.md'
    """
    shown = ROOT / INCLUDED[page] if page in INCLUDED else DOCS / page
    found = (shown.parent / unquote(destination.partition("#")[0])).resolve()
    return found if found.exists() and found.is_relative_to(ROOT) else None


def page_of(path: Path) -> str | None:
    """Return the page that shows a file; None where the site has none."""
    for page, file in INCLUDED.items():
        if path == ROOT / file:
            return page
    is_page = path.suffix == ".md" and path.is_relative_to(DOCS)
    return path.relative_to(DOCS).with_suffix("").as_posix() if is_page else None


class RepositoryLinks(SphinxTransform):
    """Resolve links to files, before Sphinx looks for pages of that name."""

    default_priority = 5

    def apply(self, **_: Any) -> None:
        """Replace each link that leads to a file of the repository."""
        page = self.env.docname
        for link in [
            *self.document.findall(addnodes.download_reference),
            *self.document.findall(addnodes.pending_xref),
        ]:
            if link.get("reftype") != "myst":
                continue
            destination = str(link["reftarget"])
            if link.get("refdomain") == "doc":
                # What MyST took for a page: its name, from this folder on.
                path = (DOCS / f"{destination}.md").resolve()
                path = path if path.exists() else target_of(page, f"{destination}.md")
            else:
                path = target_of(page, destination)
            if path is not None:
                self._replace(link, path, str(link.get("reftargetid") or destination.partition("#")[2]))

    def _replace(self, link: nodes.Element, path: Path, anchor: str) -> None:
        found = page_of(path)
        if found is not None:
            new: nodes.Element = addnodes.pending_xref(
                refdomain="doc",
                reftarget=found,
                reftargetid=anchor or None,
                refdoc=self.env.docname,
                reftype="myst",
                refexplicit=bool(link.get("refexplicit")),
            )
        elif url := repository_url():
            kind = "tree" if path.is_dir() else "blob"
            new = nodes.reference(refuri=f"{url}/{kind}/main/{path.relative_to(ROOT).as_posix()}")
        else:
            new = nodes.inline()
        new += link.children
        link.replace_self(new)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform."""
    app.add_transform(RepositoryLinks)
    return {"version": "1", "parallel_read_safe": True}
