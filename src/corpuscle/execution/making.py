"""Making: one artifact at a time, whole in the store or not at all; and what went wrong, in words."""

import traceback
from collections.abc import Sequence
from contextlib import ExitStack

from corpuscle.core.errors import BrokenComponentError, CorpuscleError
from corpuscle.core.paths import safe_name
from corpuscle.core.usage import Usage, measured
from corpuscle.execution.artifact import Artifact
from corpuscle.execution.artifacts import Fit
from corpuscle.execution.opened import Opened
from corpuscle.model.model import Progress, TrainsTogether
from corpuscle.store import recorded, write_text

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


def fit_together(group: Sequence[Fit], opened: Opened, progress: Progress) -> None:
    """Fit several models as one, and store them; they share what it cost. Those that another process makes are left."""
    with ExitStack() as claims:
        tokens = [claims.enter_context(opened.store.claimed_if_free(*fit.address)) for fit in group]
        free = [(fit, token) for fit, token in zip(group, tokens, strict=True) if token]
        _fit_claimed([fit for fit, _ in free], [token for _, token in free], opened, progress)


def _fit_claimed(group: Sequence[Fit], tokens: Sequence[str], opened: Opened, progress: Progress) -> None:
    if not group:
        return
    model, corpora = group[0].model, [opened.corpora.open(fit.corpus) for fit in group]
    assert isinstance(model, TrainsTogether), "the group was made for that"
    with measured() as usage:
        found = model.fit_together(corpora, [fit.seed for fit in group], progress)
    share = Usage(usage.seconds / len(group), usage.cpu_seconds / len(group), usage.peak_bytes)
    for fit, token, fitted, corpus in zip(group, tokens, found, corpora, strict=True):
        with opened.store.create(*fit.address, token) as folder, recorded(folder, fit.label, fit.uses, share.seconds):
            fit.write(folder, fitted, corpus, share)
