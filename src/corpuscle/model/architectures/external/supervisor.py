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
import time
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
    gone = threading.Event()
    threading.Thread(target=end_with_input, args=(process, gone), daemon=True).start()
    code = process.wait()
    # What it left running in the background ends, too.
    end_all(process)
    try:
        if not gone.is_set():
            answer({"code": code, **usage()})
    except OSError:
        gone.set()
    if gone.is_set():
        shutil.rmtree(job["remove"], ignore_errors=True)
    # Not by way of Python's end, which would write to whoever is gone once more.
    os._exit(0)


def answer(facts: dict[str, Any]) -> None:
    """Write what became of the command."""
    sys.stdout.write(json.dumps(facts))
    sys.stdout.flush()


def end_with_input(process: "subprocess.Popen[bytes]", gone: threading.Event) -> None:
    """Wait until the input ends, and end the command then; note whether who asked for it is gone."""
    if sys.stdin.buffer.read() != END:
        gone.set()
    end_all(process)


def end_all(process: "subprocess.Popen[bytes]") -> None:
    """End a command and all that it started; what does not by itself is killed."""
    if not hasattr(os, "killpg"):
        process.terminate()
        return
    try:
        os.killpg(process.pid, signal.SIGTERM)
        until = time.monotonic() + GRACE
        while time.monotonic() < until:
            time.sleep(0.02)
            os.killpg(process.pid, 0)
        os.killpg(process.pid, signal.SIGKILL)
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
