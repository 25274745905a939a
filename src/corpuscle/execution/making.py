"""Making: one artifact at a time, whole in the store or not at all; and what went wrong, in words."""

import traceback

from corpuscle.core.errors import BrokenComponentError, CorpuscleError
from corpuscle.core.paths import safe_name
from corpuscle.execution.artifact import Artifact
from corpuscle.execution.opened import Opened
from corpuscle.model.model import Progress
from corpuscle.store import write_text

# What stands for a failure where there is none yet: another process is making the artifact.
ELSEWHERE = "another process is making it"


def make(artifact: Artifact, opened: Opened, progress: Progress) -> str | None:
    """Make an artifact, unless the store has it.

    Parameters
    ----------
    artifact
        What to make; its inputs and corpora are in the store.
    opened
        What this process has open of the store.
    progress
        Called now and then with which share of it is done.

    Returns
    -------
    What went wrong, for people; None: nothing did. `ELSEWHERE`: another process is making it.
    """

    def report(share: float) -> None:
        # A model of a user's own may say anything: what is no number is its error, and not one of who hears it.
        progress(min(1.0, max(0.0, float(share))))

    for one in artifact.inputs:
        if not opened.store.has(*one.address):
            return f"{one.label}: it was damaged, or is gone, before it was used"
    try:
        progress(0.0)
        found = opened.store.kept_if_free(
            *artifact.address,
            lambda folder: artifact.make(folder, opened, report),
            label=artifact.label,
            uses=artifact.uses,
        )
    except BrokenComponentError as error:
        return f"{error}{_logged(artifact, opened)}"
    except CorpuscleError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}{_logged(artifact, opened)}"
    return None if found else ELSEWHERE


def _logged(artifact: Artifact, opened: Opened) -> str:
    """Write the traceback of what went wrong to a file, and return where it is; the disk may be what went wrong."""
    log = opened.store.errors / f"{safe_name(artifact.label.replace(' · ', '-'))}.txt"
    try:
        write_text(log, traceback.format_exc())
    except CorpuscleError as error:
        return f" (details could not be kept: {error})"
    return f" (details in {log})"
