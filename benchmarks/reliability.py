"""How reliable a study's scores are: the share of their variance that lies between corpora rather than between seeds.

    python benchmarks/reliability.py                            # the demo, as it comes: about five minutes on two cores
    python benchmarks/reliability.py my.toml --seeds 5 -o out   # a study of yours, its seeds changed; goes on in `out`
    python benchmarks/reliability.py --leave-out Pancreas No-Monocyte

Runs the study and prints for each model, task and target, and for the mean over targets, the reliability of one seed's
score, of its comparison with another corpus in the same seed (paired), and of that over all seeds, which is what the
report has (see `corpuscle.statistics.reliability`); then how many fits diverged and how many trainings had not
converged. Corpora that differ grossly make any setting look reliable; `--leave-out` leaves these out.
"""

import argparse
import re
import tempfile
import time
from pathlib import Path

import pandas as pd

import corpuscle
from corpuscle.report.page.run_folder import RunFolder
from corpuscle.statistics.convergence import convergence
from corpuscle.statistics.divergence import diverged
from corpuscle.statistics.reliability import reliability

DEMO = Path(corpuscle.__file__).parent / "study" / "demo.toml"
METRICS = ("r2_log", "elbo_median", "macro_f1", "avg_bio")


def measure(study: Path, n_seeds: int | None, leave_out: list[str], folder: Path) -> None:
    text = study.read_text(encoding="utf-8")
    if n_seeds:
        text = re.sub(r"(?m)^seeds\s*=\s*\d+", f"seeds = {n_seeds}", text)
    started = time.perf_counter()
    results = corpuscle.run(corpuscle.Study.parse(text, study.parent), folder)
    print(f"{time.perf_counter() - started:.0f} s for what was not there yet; {len(results.failures)} runs failed")
    scores = results.scores
    shown = scores[(scores["unit"] == "all") & scores["metric"].isin(METRICS) & ~scores["corpus"].isin(leave_out)]
    table = reliability(shown).drop(columns=["version", "unit"])
    one, n = table["paired"], scores["seed"].nunique()
    table["over_seeds"] = n * one / (1 + (n - 1) * one)
    with pd.option_context("display.width", 160, "display.max_rows", None, "display.precision", 3):
        print(table.to_string(index=False))
    run = RunFolder.read(folder)
    fits, trends = diverged(run.fits), convergence(run.curves)
    print(f"diverged: {fits['diverged'].sum()} of {len(fits)} fits")
    print(f"not converged: {(~trends['converged'].astype(bool)).sum()} of {len(trends)} trainings")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", type=Path, default=DEMO)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--leave-out", nargs="*", default=[])
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(given.study, given.seeds, given.leave_out, given.output or Path(folder) / "run")


if __name__ == "__main__":
    main()
