"""Looking after a store: what is damaged is found, what is of use stays, and a score leads back to its files."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from corpuscle import store as store_module
from corpuscle import store_commands
from corpuscle.cli import app
from corpuscle.core import claims
from corpuscle.core.errors import FolderError, InputError
from corpuscle.execution import upkeep
from corpuscle.execution.run_record import recording, referrers
from corpuscle.execution.trace import trace
from corpuscle.execution.upkeep import Contents, collect, open_store
from corpuscle.store import CHECKSUMS, MADE, PARTIAL, Store
from repository import ROOT


def shown(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def keep(store: Store, key: str, *uses: str, kind: str = "models") -> Path:
    """Keep a result that is made from others of its kind."""

    def write(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(key.encode() * 100)
        (folder / "inner").mkdir()
        (folder / "inner" / "more.txt").write_text("more")

    return store.kept(kind, key, write, label=f"model {key}", uses=[(kind, one) for one in uses])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Make a store with a model that is made from another, for the run `out`, and one that nobody uses."""
    folder = tmp_path / "out"
    folder.mkdir()
    store = Store(tmp_path / "store")
    with recording(store, folder, "mine") as record:
        keep(store, "below")
        keep(store, "above", "below")
        record.refer([("models", "above")], only=True)
    record.used.clear()
    record.refer([("models", "above")], only=True)
    keep(store, "unused")
    return store


def flip(path: Path, at: int = -1) -> None:
    """Flip a bit, leaving size and time."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped": (lambda at: flip(at / "weights.bin"), "weights.bin is damaged (its checksum differs)"),
    "flipped in the record": (lambda at: flip(at / MADE), f"{MADE} is damaged (its checksum differs)"),
    "flipped in the checksums": (lambda at: flip(at / CHECKSUMS, 40), "is damaged"),
    "cut": (lambda at: (at / "weights.bin").write_bytes(b"above"), "weights.bin is damaged (it has 5 bytes"),
    "missing": (lambda at: (at / "inner" / "more.txt").unlink(), "inner/more.txt is missing"),
    "extra": (lambda at: (at / "inner" / "other.txt").write_text("?"), "inner/other.txt is not one of its files"),
    "not a folder": (lambda at: (shutil.rmtree(at), at.write_text("?")), "it is a file, not a folder"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_verify_finds_what_is_damaged_and_leaves_it(store: Store, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown("store", "verify", store.root) == (0, "3 results, all whole\n")
    folder = store.folder("models", "above")
    DAMAGE[case][0](folder)
    code, text = shown("store", "verify", store.root)
    assert code == 1
    line, *_ = text.splitlines()
    assert line.startswith("models/above")
    assert "used by mine" in line
    assert DAMAGE[case][1] in line
    if case in ("flipped", "cut", "missing", "extra"):
        assert "model above" in line
    assert text.endswith("1 of 3 results are damaged; the run that needs them makes them again\n")
    assert folder.exists()
    # What is damaged is not believed when it is opened by another process, either.
    monkeypatch.setattr(store_module, "_sound", {})
    assert not Store(store.root).has("models", "above")


def test_every_bit_of_a_result_counts(store: Store) -> None:
    folder = store.folder("models", "above")
    for path in (folder / CHECKSUMS, folder / "inner" / "more.txt"):
        content = path.read_bytes()
        for at in range(0, len(content), 11):
            for bit in range(8):
                path.write_bytes(content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :])
                assert upkeep.damage_of(folder)[0], (path.name, at, bit)
        path.write_bytes(content)
    assert Contents(store).damaged() == {}


def test_a_file_that_a_system_leaves_is_no_damage(store: Store) -> None:
    (store.folder("models", "above") / ".DS_Store").write_text("?")
    assert Contents(store).damaged() == {}


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FolderError, match="expected the folder of a run, or a store; there is no store"):
            open_store(path)


def test_a_store_is_found_by_its_run(store: Store, tmp_path: Path) -> None:
    (tmp_path / "out" / "artifacts.json").write_text(json.dumps({"store": str(store.root), "runs": []}))
    assert open_store(tmp_path / "out").root == store.root


def test_gc_removes_what_no_run_uses(store: Store) -> None:
    size = upkeep.size_of(store.folder("models", "unused"))
    assert shown("store", "gc", store.root, "--dry-run")[1].endswith(f"Would free {size / 1000:.1f} kB\n")
    assert len(Contents(store).kept) == 3, "a dry run removes nothing"
    assert collect(store).by_kind == {"models": (1, size)}
    assert {key for _, key in Contents(store).kept} == {"above", "below"}
    assert Contents(store).damaged() == {}
    assert collect(store).by_kind == {}


def test_gc_removes_what_a_run_used_whose_folder_is_gone(store: Store, tmp_path: Path) -> None:
    (tmp_path / "out").rmdir()
    freed = collect(store)
    assert [*freed.runs] == [tmp_path / "out"]
    assert freed.by_kind["models"][0] == 3
    assert referrers(store.root) == []


def test_gc_keeps_what_a_run_uses_whose_disk_is_not_there(store: Store, tmp_path: Path) -> None:
    (path,) = (store.root / "runs").glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "folder": "/not/mounted/out"}))
    assert collect(store).by_kind["models"][0] == 1


def test_gc_removes_nothing_where_it_is_not_known_what_is_used(store: Store) -> None:
    (path,) = (store.root / "runs").glob("*.json")
    content = path.read_text()
    path.write_text(content[:-5])
    with pytest.raises(FolderError, match="the record of a run that uses the store cannot be read"):
        collect(store)
    path.unlink()
    with pytest.raises(FolderError, match="no run is recorded there"):
        collect(store)
    assert len(list((store.root / "models").iterdir())) == 3


def test_gc_keeps_what_earlier_versions_made_while_it_is_not_known_what_it_is_made_from(store: Store) -> None:
    for key in ("above", "unused"):
        folder = store.folder("models", key)
        (folder / MADE).unlink()
        sums = json.loads((folder / CHECKSUMS).read_text())
        del sums[MADE]
        (folder / CHECKSUMS).write_text(json.dumps(sums))
    assert store.has("models", "unused"), "it reads as it did"
    collect(store)
    assert {key for _, key in Contents(store).kept} == {"above", "unused"}


def test_gc_leaves_what_a_run_at_work_uses_or_makes(store: Store, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with recording(store, tmp_path / "other", "other"):
        freed = collect(store)
        assert freed.by_kind == {}
        assert freed.left[0] == 1, "it was made a moment ago"
        assert len([*freed.at_work]) == 1
        old = store.folder("models", "unused")
        os.utime(old, ns=(0, 0))
        # Of another process, whose work is taken up again.
        keep(store, "taken")
        os.utime(store.folder("models", "taken"), ns=(0, 0))
        with claims.claimed(store.claim("models", "taken")):
            assert collect(store).by_kind["models"][0] == 1
        assert not old.exists()
        assert store.has("models", "taken")


def test_gc_removes_what_was_left_half_made_and_nothing_that_is_being_made(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "SILENT_SECONDS", 0.05)
    (store.root / "models" / f"{PARTIAL}dead-0123").mkdir()
    (store.root / "models" / f"{PARTIAL}dead-0123" / "half").write_text("12345")
    store.claim("models", "far").write_text('{"token": "x", "host": "far", "pid": 1, "machine": "y", "started": "1"}')
    (store.root / "unfinished" / "dead").mkdir(parents=True)
    with claims.claimed(store.claim("models", "new")) as token:
        making = store.root / "models" / f"{PARTIAL}new-{token}"
        making.mkdir()
        (store.root / "unfinished" / "new").mkdir()
        freed = collect(store)
        assert making.exists()
        assert store.claim("models", "new").exists()
        assert (store.root / "unfinished" / "new").exists()
    assert freed.by_kind["half-made"] == (2, 5)
    assert not store.claim("models", "far").exists()


def test_two_runs_in_one_folder_are_refused_by_the_claim_too(store: Store, tmp_path: Path) -> None:
    refused = pytest.raises(FolderError, match=r"out is in use by another run \(process \d+ on .*\)")
    with recording(store, tmp_path / "out", "mine"), refused, recording(store, tmp_path / "out", "mine"):
        pass


def test_ls_and_du_name_what_is_there(store: Store) -> None:
    _, listed = shown("store", "ls", store.root)
    head, *rows = listed.splitlines()
    assert head.split() == ["kind", "key", "size", "made", "what", "used", "by"]
    assert [row.split()[1] for row in rows] == ["above", "below", "unused"]
    assert [row.endswith("mine") for row in rows] == [True, True, False]
    _, used = shown("store", "du", store.root)
    assert used.splitlines()[1].split()[:2] == ["models", "3"]


def test_gc_takes_away_nothing_that_no_run_made(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    for place in (outside / "0123456789abcdef", store.root / "thesis" / "chapter1"):
        place.mkdir(parents=True)
        (place / "text.md").write_text("years of work")
    (store.root / "thesis" / "notes.txt").write_text("mine")
    (store.root / "linked").symlink_to(outside, target_is_directory=True)
    (store.root / "models" / "aaaaaaaaaaaaaaaa").symlink_to(outside, target_is_directory=True)
    assert shown("store", "gc", store.root)[0] == 0
    assert (outside / "0123456789abcdef" / "text.md").exists()
    assert (store.root / "thesis" / "chapter1" / "text.md").exists()
    assert (store.root / "thesis" / "notes.txt").exists()
    assert len(Contents(store).kept) == 2, "what no run uses is gone"


def test_links_in_a_store_are_not_followed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"0" * 100_000)
    folder = store.folder("models", "above")
    before = upkeep.size_of(folder)
    (folder / "loop").symlink_to("loop")
    (folder / "up").symlink_to(tmp_path, target_is_directory=True)
    (store.root / "models" / "elsewhere").symlink_to(tmp_path, target_is_directory=True)
    assert before < upkeep.size_of(folder) < before + 1000
    for command in ("ls", "du"):
        code, text = shown("store", command, store.root)
        assert code == 0, text


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do a small study."""
    import anndata
    import numpy as np

    import corpuscle
    from corpuscle.execution import workflow

    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(1.0, 2.0, 20), (80, 20)).astype(np.float32)
    counts[:, 0] += 1 + np.arange(80)
    obs = pd.DataFrame({"cell_type": ["B", "T"] * 40}, index=[f"cell{at}" for at in range(80)])
    data = anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"G{at}" for at in range(20)]))
    data.write_h5ad(folder / "blood.h5ad")
    text = f"""
        name = "traced"
        seeds = 2
        sources.blood = {{ path = "{folder / "blood.h5ad"}" }}
        holdout.blood = {{ by = "cell", share = 0.2 }}
        quality = {{ min_counts = 1, min_genes = 1 }}
        corpora = [{{ name = "A", parts = [{{ source = "blood", n_cells = 30 }}] }}]
        models = [{{ name = "toy:MeanProfile", label = "mean" }}]
        tasks = [{{ name = "reconstruction", on = ["blood"] }}]
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "written", lambda *_: None)
        corpuscle.run(corpuscle.Study.parse(text), folder / "out", workers=0, store=folder / "store")
    return folder / "out"


def test_a_score_is_traced_to_its_files_rows_and_results(run: Path) -> None:
    from corpuscle.core.fingerprint import hash_array, hash_file

    scores = pd.read_parquet(run / "scores.parquet")
    at = int(scores.index[scores["seed"] == 1][0])
    (found,) = trace(run, row=at)
    assert [(one["row"], one["value"]) for one in found["scores"]] == [(at, scores["value"][at])]
    assert (found["corpus"], found["model"], found["seed"]) == ("A", "mean", 1)
    manifest = pd.read_parquet(run / "corpora" / "A" / "1" / "cells.parquet")
    (file,) = found["trained_on"]["files"]
    assert file["path"] == str(run.parent / "blood.h5ad")
    assert file["content"] == hash_file(run.parent / "blood.h5ad")
    assert file["rows_sha256"] == hash_array(manifest["row"].to_numpy("int64"))
    assert file["n_rows"] == 30
    (asked,) = found["asked_about"]["files"]
    assert asked["n_rows"] == 16
    for name in ("scores", "model"):
        result = found["results"][name]
        assert result["state"] == "whole"
        table = Path(result["folder"])
        assert result["seconds"] >= 0
        assert result["packages"]["numpy"]
        assert table.is_dir()
    stored = pd.read_parquet(Path(found["results"]["scores"]["folder"]) / "scores.parquet")
    assert scores["value"][at] in set(stored["value"])
    assert found["settings"]["model"] == {"name": "toy:MeanProfile", "label": "mean"}
    code, text = shown("trace", run, "--row", at, "--json")
    assert (code, json.loads(text)) == (0, [found])
    code, text = shown("trace", run, "--row", at)
    for part in (f"row {at}: ", f"models/{found['results']['model']['key']}", file["content"], "30 rows", "torch "):
        assert part in text


def test_scores_are_chosen_by_what_they_are(run: Path) -> None:
    metric = str(pd.read_parquet(run / "scores.parquet")["metric"].iloc[0])
    assert [one["seed"] for one in trace(run, metric=metric)] == [0, 1]
    (found,) = trace(run, metric=metric, seed=1)
    assert {one["metric"] for one in found["scores"]} == {metric}
    summary = pd.DataFrame([{"corpus": "A", "model": "mean", "task": "reconstruction", "target": "blood",
                             "metric": metric, "unit": "all", "way": ""}])  # fmt: skip
    summary.to_csv(run / "scores_summary.csv", index=False)
    assert [len(one["scores"]) for one in trace(run, summary_row=0)] == [1, 1]
    for chosen, said in (
        ({"row": 10_000}, r"scores.parquet has no row 10000"),
        ({"row": -1}, r"scores.parquet has no row -1"),
        ({"summary_row": 1}, r"scores_summary.csv has no row 1: its 1 rows are counted from 0"),
        ({"corpus": "B"}, r"no score has corpus 'B'; there is 'A'"),
    ):
        with pytest.raises(InputError, match=said):
            trace(run, **chosen)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected the folder of a run that has scores"):
        trace(run / "corpora")


def test_what_is_gone_or_damaged_is_said_and_the_rest_is_traced(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run.parent, tmp_path / "copy")
    copy = tmp_path / "copy" / "out"
    kept = json.loads((copy / "artifacts.json").read_text())
    (copy / "artifacts.json").write_text(json.dumps({**kept, "store": str(tmp_path / "copy" / "store")}))
    (found,) = trace(copy, row=0)
    flip(Path(found["results"]["model"]["folder"]) / "profile.json")
    shutil.rmtree(found["trained_on"]["result"]["folder"])
    (found,) = trace(copy, row=0)
    assert found["results"]["model"]["state"] == "profile.json is damaged (its checksum differs)"
    assert found["trained_on"]["result"]["state"] == "no longer in the store"
    assert found["trained_on"]["files"][0]["content"]
    assert "no longer in the store" in shown("trace", copy, "--row", 0)[1]
    (copy / "artifacts.json").unlink()
    (found,) = trace(copy, row=0)
    assert "not recorded" in found["results"]["model"]["state"]


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([1, None], "runs.0: should be a table"),
        ([{"corpus": "A", "model": "mean", "seed": 0, "model_key": "../..", "scores": []}], "runs.0.model_key: "),
        ([{"corpus": "A", "model": "mean", "seed": 0, "model_key": "", "scores": [{"cells": 5}]}], "runs.0.scores.0"),
    ],
)
def test_what_was_written_into_its_documents_is_refused_in_one_message(
    run: Path, tmp_path: Path, runs: list[object], said: str
) -> None:
    shutil.copytree(run.parent, tmp_path / "copy")
    copy = tmp_path / "copy" / "out"
    (copy / "artifacts.json").write_text(json.dumps({"store": str(tmp_path / "copy" / "store"), "runs": runs}))
    with pytest.raises(FolderError, match=f"artifacts.json: cannot be read .{said}"):
        trace(copy, row=0)


@pytest.mark.parametrize("table", ["no seed", "no value", "pipe"])
def test_a_table_of_scores_that_is_none_is_refused_in_one_message(run: Path, tmp_path: Path, table: str) -> None:
    scores = pd.read_parquet(run / "scores.parquet")
    path = tmp_path / "scores.parquet"
    if table == "pipe":
        os.mkfifo(path)
    else:
        (scores.assign(seed=float("nan")) if table == "no seed" else scores.drop(columns="value")).to_parquet(path)
    with pytest.raises(FolderError, match=r"scores.parquet: "):
        trace(tmp_path, row=0)


def test_gc_of_a_run_removes_nothing_of_it_and_the_next_study_frees_the_last_ones(run: Path) -> None:
    assert collect(open_store(run), dry_run=True).by_kind == {}
    assert set(upkeep.Contents(open_store(run)).bytes_by_model()) == {("A", "mean")}


def test_every_command_is_in_the_page_on_the_store() -> None:
    page = (ROOT / "docs" / "store.md").read_text(encoding="utf-8")
    names = [command.name for command in store_commands.app.registered_commands]
    assert names == ["ls", "du", "verify", "gc"]
    assert [name for name in names if f"corpuscle store {name} PATH" not in page] == []
