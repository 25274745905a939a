"""The command lines that the documentation has for environments and containers, run by programs that stand in for them.

None of the real ones can be had where tests run. What stands in reads the options that a command line has as the real
program does, refuses any other, sees of the machine what a container would, and runs what is left.
"""

import os
import sys
import tempfile
import tomllib

import numpy as np
import pytest

from corpuscle.core.components import build
from corpuscle.core.errors import ModelError
from corpuscle.model.model import Model
from repository import ROOT

EXAMPLES = ROOT / "docs" / "examples"
STAND_IN = f"""#!{sys.executable}
import os, sys
from pathlib import Path

name, (verb, *rest) = Path(sys.argv[0]).name, sys.argv[1:]
flags = {{"conda": ["--no-capture-output"], "docker": ["--rm", "--init"], "apptainer": ["--nv"], "uv": []}}[name]
valued = {{"conda": ["-n"], "docker": ["--network", "--user", "-v"], "apptainer": ["--bind"], "uv": ["--script"]}}[name]
assert verb == ("exec" if name == "apptainer" else "run"), verb
given = []
while rest[0].startswith("-"):
    option = rest.pop(0)
    assert option in (*flags, *valued), f"{{name}} has no {{option}}"
    given.append((option, rest.pop(0) if option in valued else ""))
options = dict(given)
environment = dict(os.environ)
if name == "uv":
    rest = ["python", options["--script"], *rest]
if name == "conda":
    assert options["-n"] == "uce"
if name in ("docker", "apptainer"):
    image = rest.pop(0)
    assert name == "docker" or Path(image).is_file(), image
    mounts = [value.split(":") for option, value in given if option in ("-v", "--bind")]
    for here, *there in mounts:
        assert Path(here).exists(), f"{{here}} is not there to be mounted"
        assert not there or there[0] == here, "the same path on both sides"
    seen = [Path(here) for here, *_ in mounts]
    for path in map(Path, rest):
        assert not path.is_absolute() or any(path.is_relative_to(each) for each in seen), f"{{path}} is not mounted"
    os.chdir("/")
if name == "docker":
    environment = {{"PATH": environment["PATH"]}}
assert rest[0] == "python", rest
print(name, "ran", rest[1:])
os.execve({sys.executable!r}, [{sys.executable!r}, "-I", *rest[1:]], environment)
"""


def documented() -> dict[str, dict[str, object]]:
    """Read the documentation's environments, each with the first word of the comment above it."""
    text = (ROOT / "docs" / "external-models.md").read_text(encoding="utf-8").split("## Environments")[1]
    block = text.split("```toml\n")[1].split("```")[0]
    parts = [part for part in block.split("# ")[1:] if part.strip()]
    return {part.split()[0].strip(",():"): tomllib.loads(f"# {part}") for part in parts}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder, as its temporary one, whose name has blanks; programs that stand in are found first."""
    programs, temporary = tmp_path / "programs", tmp_path / "temporary files"
    for folder in (programs, temporary, tmp_path / "my models"):
        folder.mkdir()
    for name in ("conda", "docker", "uv", "apptainer"):
        (programs / name).write_text(STAND_IN)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    script = tmp_path / "my models" / "embed it.py"
    script.write_text((EXAMPLES / "external_projection.py").read_text())
    (tmp_path / "my models" / "an image.sif").write_text("x")
    return script


def test_there_is_an_example_for_each_environment():
    assert [*documented()] == ["conda", "a", "uv", "Docker", "Apptainer"]


@pytest.mark.parametrize("name", documented())
def test_a_documented_command_line_embeds(name, place, make):
    settings = documented()[name]
    command = str(settings["command"]).replace("/home/me/envs/nicheformer/bin/python", sys.executable)
    files = {"script": str(place)} | ({"image": str(place.with_name("an image.sif"))} if name == "Apptainer" else {})
    assert {*dict(settings.get("files", files))} == {*files}
    cells = make(5)
    model = build(Model, "external", {"command": command, "files": files})
    model.check(cells.space)
    found = model.fit(cells, 0).embed(cells)
    expected = build(
        Model, "external", {"command": [sys.executable, "-I", "{script}", "{cells}", "{embedding}"], "files": files}
    )
    np.testing.assert_array_equal(found, expected.fit(cells, 0).embed(cells))


def test_what_a_container_is_not_given_is_not_there(place, make):
    """Without the script's folder, or a second one for a model that learns, the message says what is lacking."""
    docker = "docker run --rm -v {work}:{work} "
    of_pca = {"script": str(EXAMPLES / "external_pca.py")}
    fit, embed = "python {script} fit {cells} {model} {seed}", "python {script} embed {cells} {model} {embedding}"
    script, learned = "-v {script}:{script}:ro ", "-v {model}:{model} "
    cells = make(12)
    for mounts, lacking in (("", "external_pca.py is not mounted"), (script, "is not mounted"), (script + learned, "")):
        given = {"fit_command": f"{docker}{mounts}image {fit}", "command": f"{docker}{mounts}image {embed}"}
        model = build(Model, "external", given | {"files": of_pca})
        if lacking:
            with pytest.raises(ModelError, match=lacking):
                model.fit(cells, 0)
        else:
            assert model.fit(cells, 0).embed(cells).shape == (12, 10)
