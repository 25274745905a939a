"""Estimates of `corpuscle check` next to what runs take: studies of different kinds, with the ratio of each.

    python benchmarks/estimates.py                       # all studies, two processes
    python benchmarks/estimates.py tiny made --workers 1
    python benchmarks/estimates.py --file study.toml     # one of your own

Two ratios of estimated to taken are printed: by the clock, which is of use on a machine that has nothing else to do,
and by processor seconds (of what was made, over the number of processes, and of this process), which other work on the
machine changes little; that one must lie between a half and two, which is asserted. With `--patient`, the rehearsal
may take four minutes by the clock, as on a machine that is shared it would be cut off.
"""

import argparse
import json
import tempfile
import time
from importlib.resources import files
from pathlib import Path

from corpuscle import Study, prepare
from corpuscle.execution import workflow
from corpuscle.execution.rehearsal.estimate import estimated
from corpuscle.execution.rehearsal.rehearse import Limits, rehearse

MADE = ("components", "measures", "made_cells", "models", "scores", "maps")
BLOOD = """
[sources]
blood = { dataset = "kang2018" }
[quality]
min_counts = 100
min_genes = 50
[holdout]
blood = { by = "cell", share = 0.4 }
[[corpora]]
name = "Blood"
parts = [{ source = "blood", n_cells = 700 }]
"""
STUDIES = {
    "tiny": """
name = "tiny"
seeds = 1
[sources]
blood = { dataset = "pbmc3k" }
[holdout]
blood = { by = "cell", share = 0.2 }
[[corpora]]
name = "Blood"
parts = [{ source = "blood", n_cells = 100 }]
[[models]]
name = "pca"
n_components = 5
[[tasks]]
name = "resources"
on = ["blood"]
""",
    "fine-tuning": f"""
name = "fine-tuning"
seeds = 1
{BLOOD}
[[models]]
name = "ldvae"
budget = {{ steps = 500 }}
[[models]]
name = "pca"
[[tasks]]
name = "annotation"
fine_tune = ["frozen", "whole"]
remedies = ["none", "focal"]
training = {{ learning_rate = 1e-3, budget = {{ steps = 400 }} }}
on = ["blood"]
""",
    "without-steps": f"""
name = "models without steps, many tasks"
seeds = 2
{BLOOD}
[[corpora]]
name = "Blood+Blood"
parts = [{{ source = "blood", n_cells = 1400 }}]
[[models]]
name = "pca"
[[models]]
name = "hvg"
[[models]]
name = "logistic_regression"
[[tasks]]
name = "annotation"
on = ["blood"]
[[tasks]]
name = "clustering"
on = ["blood"]
[[tasks]]
name = "integration"
on = ["blood"]
[[tasks]]
name = "latents"
reference_corpus = "Blood"
on = ["blood"]
[[tasks]]
name = "resources"
on = ["blood"]
""",
    "made": f"""
name = "made cells"
seeds = 2
{BLOOD}
[[corpora]]
name = "Thinned"
parts = [{{ source = "blood", n_cells = 700 }}]
steps = [{{ alteration = "thin", keep = 0.5 }}]
[[corpora]]
name = "Imputed"
parts = [{{ source = "blood", n_cells = 700 }}]
steps = [{{ alteration = "impute_rare", threshold = 60, settings = {{ budget = {{ steps = 400 }} }} }}]
[[models]]
name = "ldvae"
budget = {{ steps = 400 }}
[[tasks]]
name = "reconstruction"
on = ["blood"]
""",
}


def study_of(name: str) -> Study:
    """Return a study by its name."""
    if name == "demo":
        return Study.parse((files("corpuscle.study") / "demo.toml").read_text(encoding="utf-8"))
    if name in STUDIES:
        return Study.parse(STUDIES[name])
    return Study.read(Path(__file__).parents[1] / "studies" / f"{name}.toml")


def made_seconds(store: Path) -> dict[str, float]:
    """Return the processor seconds of all that a run made, by kind."""
    found = dict.fromkeys(MADE, 0.0)
    for kind in MADE:
        for record in store.glob(f"{kind}/*/made.json"):
            found[kind] += json.loads(record.read_text(encoding="utf-8"))["cpu_seconds"]
    return found


def compared(name: str, study: Study, workers: int, limits: Limits) -> float:
    """Estimate and run a study, and print the two; return the ratio of processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    plan = prepare(study)
    prepared, prepared_cpu = time.perf_counter() - wall, time.process_time() - cpu
    wall = time.perf_counter()
    found = rehearse(plan, None, limits)
    rehearsed = time.perf_counter() - wall
    guess = estimated(plan, found, workers, preparing=prepared)
    with tempfile.TemporaryDirectory() as place:
        wall, cpu = time.perf_counter(), time.process_time()
        workflow.run(study, Path(place) / "out", workers=workers)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        made = made_seconds(Path(place) / "out" / "store")
    busy = cpu + sum(made.values()) / workers
    guessed = guess.seconds - prepared + prepared_cpu - found.start
    parts = {
        "measuring": (guess.measuring - found.start, made["components"] + made["measures"] + made["made_cells"]),
        "training": (guess.training, made["models"]),
        "asking": (guess.asking, made["scores"] + made["maps"]),
    }
    said = ", ".join(f"{part} {one:.1f}/{other / workers:.1f}" for part, (one, other) in parts.items())
    print(
        f"{name:16}{rehearsed:9.0f}{guess.seconds:9.0f}{wall:8.0f}{guess.seconds / wall:7.2f}"
        f"{guessed:9.0f}{busy:8.0f}{guessed / busy:7.2f}  {said}; this process {cpu:.1f}",
        flush=True,
    )
    for lacking in guess.unknown:
        print(f"    not known: {lacking}", flush=True)
    return guessed / busy


def main() -> None:
    """Compare estimates with runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", help=f"demo, {', '.join(STUDIES)}, or one of the folder studies")
    parser.add_argument("--file", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--patient", action="store_true")
    options = parser.parse_args()
    limits = Limits(most=240.0) if options.patient else Limits()
    heads = ("study", "check s", "guess s", "run s", "ratio", "guess cpu", "run cpu", "ratio")
    print(f"{heads[0]:16}{heads[1]:>9}{heads[2]:>9}{heads[3]:>8}{heads[4]:>7}{heads[5]:>9}{heads[6]:>8}{heads[7]:>7}")
    names = options.studies or ([] if options.file else ["demo", *STUDIES, "perturbation", "annotation"])
    chosen = {name: study_of(name) for name in names}
    if options.file:
        chosen[options.file.stem] = Study.read(options.file)
    ratios = {name: compared(name, study, options.workers, limits) for name, study in chosen.items()}
    assert all(0.5 <= ratio <= 2 for ratio in ratios.values()), ratios


if __name__ == "__main__":
    main()
