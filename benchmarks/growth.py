"""Studies of many corpora: how check, describe, run and the report grow with their number, in processes of their own.

    python benchmarks/growth.py                       # check of 1,000, 3,000 and 10,000; describe of 100 and 500
    python benchmarks/growth.py check --corpora 10000 --cells 1000
    python benchmarks/growth.py describe --corpora 500
    python benchmarks/growth.py run --corpora 100     # trains a model of 8 hidden units for five steps on each

Corpora are of the packaged pbmc3k, up to 1,000 of them each of another number of cells, so that none is another's
again. Peak memory is the whole process', Python and its libraries included.
10,000 corpora must be checked within 30 s of processor time, and 500 described within 1.5 GB with a page of at most
20 MB, which is asserted.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MOST_SECONDS, MOST_GB, MOST_MB = 30.0, 1.5, 20.0
# Cells of pbmc3k for training, when a fifth is held out.
N_POOL = 1200
DEFAULTS = {"check": (1000, 3000, 10_000), "describe": (100, 500), "run": ()}
MODEL = {
    "check": 'name = "pca"\nn_components = 5',
    "describe": 'name = "pca"\nn_components = 5',
    "run": 'name = "ldvae"\nn_hidden = 8\nn_latent = 3\nbudget = { steps = 5 }',
}


def study(command: str, n_corpora: int, n_cells: int) -> str:
    """Write a study of so many corpora of about so many cells each."""
    corpora = (
        f'[[corpora]]\nname = "C{at}"\nparts = [{{ source = "blood", n_cells = {n_cells + at % (N_POOL - n_cells)} }}]'
        for at in range(n_corpora)
    )
    head = 'name = "growth"\nseeds = 1\n[sources]\nblood = { dataset = "pbmc3k" }\n'
    head += '[holdout]\nblood = { by = "cell", share = 0.2 }'
    tail = f'[[models]]\n{MODEL[command]}\n[[tasks]]\nname = "reconstruction"\non = ["blood"]'
    return "\n".join([head, *corpora, tail])


def measured(command: str, n_corpora: int, n_cells: int) -> dict[str, Any]:
    """Do it in this process."""
    from rich.console import Console

    from corpuscle import Study, prepare, terminal
    from corpuscle.execution import workflow

    with tempfile.TemporaryDirectory() as folder:
        file, out, page = Path(folder) / "study.toml", Path(folder) / "out", None
        file.write_text(study(command, n_corpora, n_cells), encoding="utf-8")
        wall, cpu = time.perf_counter(), time.process_time()
        if command == "check":
            plan = prepare(Study.read(file))
            with (Path(folder) / "shown").open("w") as shown:
                terminal.show_plan(Console(file=shown), plan, None, 1)
        elif command == "describe":
            workflow.describe(file, out)
            page = out / "description.html"
        else:
            page = workflow.run(file, out, workers=1).report
        return {
            "seconds": time.perf_counter() - wall,
            "cpu": time.process_time() - cpu,
            "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
            "page_mb": page.stat().st_size / 1e6 if page else 0.0,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=list(DEFAULTS))
    parser.add_argument("--corpora", type=int)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measured(options.command, options.corpora, options.cells)))
        return
    print(f"{'command':10}{'corpora':>9}{'cells':>7}{'seconds':>10}{'cpu s':>8}{'peak GB':>9}{'page MB':>9}")
    for command in [options.command] if options.command else DEFAULTS:
        for n_corpora in [options.corpora] if options.corpora else DEFAULTS[command]:
            size = [command, "--corpora", str(n_corpora), "--cells", str(options.cells)]
            told = subprocess.run([sys.executable, __file__, *size, "--here"], check=True, capture_output=True)
            found = json.loads(told.stdout.splitlines()[-1])
            print(
                f"{command:10}{n_corpora:9,}{options.cells:7,}{found['seconds']:10.1f}{found['cpu']:8.1f}"
                f"{found['gb']:9.2f}{found['page_mb']:9.2f}",
                flush=True,
            )
            if command == "check" and n_corpora <= 10_000:
                assert found["cpu"] <= MOST_SECONDS, f"{n_corpora:,} corpora took {found['cpu']:.0f} s to check"
            if n_corpora <= 500:
                assert found["gb"] <= MOST_GB, f"{n_corpora:,} corpora took {found['gb']:.1f} GB"
                assert found["page_mb"] <= MOST_MB, f"the page of {n_corpora:,} corpora is {found['page_mb']:.0f} MB"


if __name__ == "__main__":
    main()
