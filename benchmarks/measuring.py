"""Measures at size: ours and the reference's, each in a process of its own, with time and peak memory.

    python benchmarks/measuring.py                    # vendi and coverage at the sizes of their targets
    python benchmarks/measuring.py coverage --corpus 20000 --repeat 3
    python benchmarks/measuring.py vendi --cells 1000000 --alone

References: vendi-score's `score_dual`; scikit-learn's brute-force nearest neighbours, blocked, with the definitions of
Naeem et al. 2020 written out, for coverage and k-NN distance. The last column but one
is the reference's processor time over ours; "agree" is the largest relative difference of the results. Input is made
before the clock starts. Ours must stay within 1.5 GB next to the input, which is asserted.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

DIMENSIONS = 50
K = 5
# Peak memory next to the input.
MOST_GB = 1.5


def points(n_cells: int, seed: int = 0, shift: float = 0.0) -> Any:
    """Draw cells in clusters, with variances that fall as those of principal components do."""
    rng = np.random.default_rng(seed)
    spread = np.geomspace(8, 0.5, DIMENSIONS).astype(np.float32)
    centres = np.random.default_rng(99).normal(size=(40, DIMENSIONS)).astype(np.float32) * spread
    made = np.empty((n_cells, DIMENSIONS), np.float32)
    for start in range(0, n_cells, 100_000):
        part = made[start : start + 100_000]
        part[:] = rng.standard_normal(part.shape, np.float32) * spread * 0.4
        part += centres[rng.integers(0, 40, len(part))] + np.float32(shift)
    return made


class Clock:
    """Measures from the moment that the input is there."""

    def start(self) -> None:
        self.input_gb = peak()
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def told(self, found: list[float]) -> dict[str, Any]:
        times = {"wall": time.perf_counter() - self.wall, "cpu": time.process_time() - self.cpu}
        return {**times, "peak": peak(), "beside": peak() - self.input_gb, "found": found}


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def ours_vendi(options: argparse.Namespace, clock: Clock) -> list[float]:
    from corpuscle.measures.built_ins.vendi import gram, vendi

    cells = points(options.cells)
    clock.start()
    return [vendi(gram(cells))]


def reference_vendi(options: argparse.Namespace, clock: Clock) -> list[float]:
    from vendi_score.vendi import score_dual

    cells = points(options.cells)
    clock.start()
    return [float(score_dual(cells.astype(np.float64)))]


def ours_coverage(options: argparse.Namespace, clock: Clock) -> list[float]:
    from corpuscle.corpus.expression.neighbours import neighbours, square_radii

    corpus, target = points(options.corpus), points(options.target, 1, shift=0.5)
    neighbours(target[:9], corpus[:9], K, square_radii(target[:9], K))  # compiled, or read from numba's cache
    clock.start()
    radius = square_radii(target, K)
    found = neighbours(target, corpus, K, radius)
    covered = found.square_Tk[:, 0] <= radius
    return [float(covered.mean()), float(np.sqrt(found.square_Tk).mean()), float(found.balls_S.mean() / K)]


def reference_coverage(options: argparse.Namespace, clock: Clock) -> list[float]:
    from sklearn.metrics import pairwise_distances_chunked
    from sklearn.neighbors import NearestNeighbors

    corpus, target = points(options.corpus), points(options.target, 1, shift=0.5)
    clock.start()
    radius = NearestNeighbors(n_neighbors=K + 1, algorithm="brute").fit(target).kneighbors(target)[0][:, K]
    nearest, _ = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(corpus).kneighbors(target)
    start, inside = 0, 0
    for apart in pairwise_distances_chunked(target, corpus, working_memory=256):
        inside += int((apart <= radius[start : start + len(apart), None]).sum())
        start += len(apart)
    density = inside / len(corpus) / K
    return [float((nearest[:, 0] <= radius).mean()), float(nearest.mean()), density]


CASES = {
    "vendi": (ours_vendi, reference_vendi, "vendi-score"),
    "coverage": (ours_coverage, reference_coverage, "scikit-learn"),
}


def measure(case: str, side: int, options: argparse.Namespace) -> dict[str, Any]:
    """Make one measurement in a process of its own."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import measuring; measuring.child()"
    command = [sys.executable, "-W", "ignore", "-c", code, json.dumps([case, side, vars(options)])]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return found


def child() -> None:
    case, side, asked = json.loads(sys.argv[1])
    clock = Clock()
    found = CASES[case][side](argparse.Namespace(**asked), clock)
    print(json.dumps(clock.told(found)))


def show(case: str, options: argparse.Namespace) -> None:
    size = f"{options.corpus:,} cells against {options.target:,}" if case == "coverage" else f"{options.cells:,} cells"
    medians, results = [], []
    for side, name in enumerate(("corpuscle", CASES[case][2])[: 1 if options.alone else 2]):
        runs = [measure(case, side, options) for _ in range(options.repeat)]
        wall, cpu, most = (float(np.median([run[key] for run in runs])) for key in ("wall", "cpu", "peak"))
        if side == 0:
            beside = max(run["beside"] for run in runs)
            assert beside < MOST_GB, f"{case} took {beside:.2f} GB beside its input, more than {MOST_GB}"
        medians.append(cpu)
        results.append(np.array(runs[0]["found"]))
        ratio = f"{cpu / medians[0]:9.1f} {np.abs(results[1] / results[0] - 1).max():9.1e}" if side else ""
        what = ", ".join(f"{value:.6g}" for value in runs[0]["found"])
        print(f"{case:<9} {size:<34} {name:<13} {wall:9.4f} {cpu:9.4f} {most:8.2f} {ratio:<19} {what}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", choices=CASES)
    parser.add_argument("--cells", type=int, default=1_000_000, help="of vendi")
    parser.add_argument("--corpus", type=int, default=100_000)
    parser.add_argument("--target", type=int, default=10_000)
    parser.add_argument("--alone", action="store_true", help="leave the reference out")
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    heads = f"{'wall s':>9} {'CPU s':>9} {'peak GB':>8} {'ratio':>9} {'agree':>9}"
    print(f"{'':<9} {f'{DIMENSIONS} dimensions':<34} {'':<13} {heads}")
    for case in [options.case] if options.case else CASES:
        show(case, options)


if __name__ == "__main__":
    main()
