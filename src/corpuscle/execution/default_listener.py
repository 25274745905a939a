"""Which listener a run has that is given none."""

import sys

from corpuscle.execution.listener import Listener
from corpuscle.execution.logged import Logged
from corpuscle.execution.notebook import InNotebook


def default_listener() -> Listener:
    """Return what shows a run in a notebook; elsewhere, what logs it under ``corpuscle``."""
    return InNotebook() if _in_notebook() else Logged()


def _in_notebook() -> bool:
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")
