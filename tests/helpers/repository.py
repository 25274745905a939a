"""Where the project's own files are, and what a process that a test starts must have to find these helpers."""

import os
from pathlib import Path

HELPERS = Path(__file__).parent
TESTS = HELPERS.parent
ROOT = TESTS.parent


def environment(**variables: str) -> dict[str, str]:
    """This process' environment, in which modules of this folder, such as `toy`, are found, too."""
    path = os.pathsep.join([str(HELPERS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, **variables}
