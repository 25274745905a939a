"""Supervisor: runs one command, and ends it with all that it started once whoever asked for it is gone.

A worker that is killed cannot end what it runs; this process, which waits for its input to end, can. It is started by
its path with nothing but Python's own library, reads the command from its first line of input, and answers with a line.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from typing import Any

# Seconds that a command has to end by itself when it is asked to; containers need some.
GRACE = 10.0
# What is written to the input where whoever asked wants the command ended, and removes its folders himself.
END = b"end\n"


def main() -> None:
    """Run the command of the first line of input; see `corpuscle.model.architectures.external.running`."""
    job = json.loads(sys.stdin.buffer.readline())
    if hasattr(signal, "pthread_sigmask"):
        # Workers block Ctrl-C; the command is to have signals as a shell would give it.
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
    try:
        with open(job["log"], "wb") as log:  # noqa: PTH123  # pathlib takes a third of the time that this process does
            process = subprocess.Popen(
                job["command"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=job["folder"],
                env=job["environment"],
                start_new_session=True,
            )
    except (OSError, ValueError) as error:
        answer({"error": str(error)})
        return
    threading.Thread(target=end_with_input, args=(process, job["remove"]), daemon=True).start()
    code = process.wait()
    # What it left running in the background ends, too.
    end_all(process, signal.SIGTERM)
    answer({"code": code, **usage()})


def answer(facts: dict[str, Any]) -> None:
    """Write what became of the command."""
    sys.stdout.write(json.dumps(facts))
    sys.stdout.flush()


def end_with_input(process: "subprocess.Popen[bytes]", remove: str) -> None:
    """Wait until the input ends; end the command then and, where nobody else can, remove its folders."""
    asked = sys.stdin.buffer.read()
    end_all(process, signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        end_all(process, getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait()
    end_all(process, getattr(signal, "SIGKILL", signal.SIGTERM))
    if asked != END:
        shutil.rmtree(remove, ignore_errors=True)
    os._exit(0)


def end_all(process: "subprocess.Popen[bytes]", number: int) -> None:
    """Send a signal to a command and all that it started."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        else:
            process.terminate()
    except OSError:
        pass  # None of them is left.


def usage() -> dict[str, float]:
    """Return the processor time of all that ran, and the memory of the largest process."""
    try:
        import resource
    except ImportError:
        return {"cpu_seconds": 0.0, "peak_bytes": 0}
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    return {"cpu_seconds": found.ru_utime + found.ru_stime, "peak_bytes": found.ru_maxrss * unit}


if __name__ == "__main__":
    main()
