"""Needs: about how much memory it takes to make an artifact, from what is known before: its models and its cells."""

from corpuscle.corpus.stored import StoredCorpora
from corpuscle.execution.artifact import Artifact

# A worker process with its libraries, torch among them.
PROCESS_BYTES = 700_000_000
# A cell's counts: an index and a value for each gene that it has, and about so many genes at most.
BYTES_OF_COUNT, GENES_OF_CELL = 8, 2_000


def memory_needed(artifact: Artifact, corpora: StoredCorpora) -> int:
    """Return about how many bytes a process takes that makes an artifact.

    It is an estimate: a model of a user's own, and what a task does with a model, are not in it. Counts of a corpus
    that is larger than `corpuscle.model.data.memory.memory_limit` are read from disk, and take less.
    """
    named = [corpora.named(key) for key in dict.fromkeys(artifact.corpora)]
    counts = sum(BYTES_OF_COUNT * min(one.n_genes, GENES_OF_CELL) * one.n_cells for one in named)
    return PROCESS_BYTES + counts + artifact.memory(max((one.n_genes for one in named), default=0))


def about_needed(artifact: Artifact, corpora: StoredCorpora) -> str:
    """Return the same in words."""
    return f"it needs about {memory_needed(artifact, corpora) / 1e9:.1f} GB by what is known of its models and cells"
