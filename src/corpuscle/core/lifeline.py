"""Lifeline: a worker process that ends when its run does, however that ends, before it has loaded anything.

It is a module of its own that loads next to nothing: a process that is still importing a model's libraries when its run
is killed would outlive it by seconds. The process that workers are forked from loads
`corpuscle.core.forked_from` first.
"""

import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import os
import re
import select
import signal
import sys
import threading
from importlib import import_module
from typing import Any

# Linux: prctl's option for which signal a process is sent when its parent ends.
PR_SET_PDEATHSIG = 1
LOOK_SECONDS = 0.5
# A user's module may be kept from calling it while it is imported.
_exit = os._exit


def end_with_parent() -> None:
    """Have the system kill this process when its parent ends, whatever either is doing; only Linux can."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def begin(what: str, *arguments: Any) -> None:
    """Prepare a worker process: let it end with its run, then call a function.

    Parameters
    ----------
    what
        ``module:function``; the module is imported here.
    arguments
        What it is called with.
    """
    # The run's process, and the one that this was forked from: the same where processes are not forked.
    run, forked_from = multiprocessing.parent_process(), os.getppid()
    assert run is not None, "a worker is another's child"
    end_with_parent()

    def watch() -> None:
        while os.getppid() == forked_from and not multiprocessing.connection.wait([run.sentinel], LOOK_SECONDS):
            pass
        _exit(1)

    # Where the system cannot, and where the parent ended before it was asked to.
    threading.Thread(target=watch, daemon=True).start()
    module, _, function = what.partition(":")
    getattr(import_module(module), function)(*arguments)


def begin_forkserver(code: str) -> None:
    """Let the process that workers are forked from end with the run, also where that ended before this line.

    `code` is what Python started it with.
    """
    end_with_parent()
    # Python gives it a pipe whose other end only the run has open, and looks at it once all is loaded.
    if found := re.search(r"main\(\d+, (\d+)", code):
        with contextlib.suppress(OSError, ValueError):
            if select.select([int(found[1])], [], [], 0)[0]:
                _exit(1)
