"""How long workers take to start: forked from a process that has loaded the libraries, and each loading them itself.

    python benchmarks/workers.py            # three workers of each kind, one after the other

Prints seconds by the clock and of the worker's own processor time until it has torch and can make something. Only Linux
forks.
"""

import time
from pathlib import Path

from corpuscle.execution import workers


def main() -> None:
    for kind in ("spawn", "forkserver"):
        workers.START = kind
        for at in range(3):
            begun = time.perf_counter()
            with workers.pool_of(1, Path()) as (worker,):
                # Loads torch, as the first thing that a run asks of its workers does.
                worker.submit(workers.gpu_names)
                worker.future.result()
                worker.submit(time.process_time)
                cpu = worker.future.result()
                print(f"{kind}, worker {at + 1}: {time.perf_counter() - begun:.2f} s, of its own {cpu:.2f} CPU seconds")


if __name__ == "__main__":
    main()
