"""Lifeline: a worker process that ends when its parent does, however that ends, before it has loaded anything.

It is a module of its own that loads next to nothing: a process that is still importing a model's libraries when its
parent is killed would outlive it by seconds.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from importlib import import_module
from typing import Any

# Linux: prctl's option for which signal a process is sent when its parent ends.
PR_SET_PDEATHSIG = 1
LOOK_SECONDS = 0.5
# A user's module may be kept from calling it while it is imported.
_exit = os._exit


def begin(parent: int, what: str, *arguments: Any) -> None:
    """Prepare a worker process: let it end with its parent, then call a function.

    Parameters
    ----------
    parent
        The parent's process number.
    what
        ``module:function``; the module is imported here.
    arguments
        What it is called with.
    """
    if sys.platform.startswith("linux"):
        # Sent by the system, whatever this process is doing, also when it is stopped.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        _exit(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        _exit(1)

    # Elsewhere, and where the thread that started this process was not the parent's main one.
    threading.Thread(target=watch, daemon=True).start()
    module, _, function = what.partition(":")
    getattr(import_module(module), function)(*arguments)
