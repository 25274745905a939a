"""The published study of imbalance in integration: its full files can be planned, and its small ones give claims."""

import pytest

import corpuscle
from corpuscle.study.preparation import prepare
from corpuscle.study.spec import Study
from imbalance_standins import STUDIES, cells, claims_of, cut, leave_out_slow_parts, models

HERE = STUDIES / "imbalance_integration"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with tiny files of the schema of those that the full studies name."""
    made = tmp_path_factory.mktemp("imbalance_integration")
    models(made / "models")
    for name, files in {
        "pbmc_2_batch_base_balanced": ["tran_exp5_pbmc_batch1_balanced", "tran_exp5_pbmc_batch2_balanced"],
        "pbmc_4_batch": ["batch1", "batch2", "batch3", "batch4"],
    }.items():
        (made / "data" / name).mkdir(parents=True)
        for at, file in enumerate(files):
            cells(20, {"batch": [file]}, seed=at).write_h5ad(made / "data" / name / f"{file}.h5ad")
    return made


@pytest.mark.parametrize(
    ("file", "n_runs", "changes"),
    [
        ("full", 40, {"seeds    = 200": "seeds = 2"}),
        ("full_fine_tuned", 20, {"seeds    = 10": "seeds = 2"}),
        ("full_natural", 10, {"seeds    = 50": "seeds = 2"}),
    ],
)
def test_the_full_study_can_be_planned(folder, file, n_runs, changes):
    plan = prepare(Study.parse(cut((HERE / f"{file}.toml").read_text(), changes), folder))
    assert len(plan.runs) == n_runs


def test_small_runs_give_claims(tmp_path, monkeypatch):
    leave_out_slow_parts(monkeypatch)
    genes = f"genes = {{ space = '{STUDIES}/imbalance_annotation/genes.txt', by = 'symbol', min_counts_kept = 0.0 }}"
    few = {r"seeds    = \d+": f"seeds = 1\n{genes}", r"steps = \d+": "steps = 1"}
    fewer = {
        "small": few | {"n_cells = 480": "n_cells = 192"},
        "small_foundation": few | {"n_cells = 360": "n_cells = 120", "batch_size = 8": "batch_size = 4"},
        "small_natural": few | {"n_cells = 900": "n_cells = 200"},
    }
    runs = {}
    for file, changes in fewer.items():
        study = Study.parse(cut((HERE / f"{file}.toml").read_text(), changes), HERE)
        runs[file] = corpuscle.run(study, tmp_path / file, workers=0, store=tmp_path / "store")
    found = claims_of("imbalance_integration", runs)
    assert len({claim.name for claim in found}) == len(found) == 10
    # One replicate has no interval, so no pattern can be said to be there.
    assert {claim.verdict for claim in found} <= {"not seen", "no verdict"}
    assert all(claim.estimate.n <= 1 for claim in found)
    drop = next(claim for claim in found if claim.name == "Ablated in one batch")
    assert -1 <= drop.estimate.mean <= 1
