"""Figures of a run on matplotlib axes: axes in, axes out, to be placed, labelled and changed as any others.

They need the extra ``plot`` (``pip install 'corpuscle[plot]'``). Colours mean what they mean in the report: blue is
better and orange is worse than the baseline, grey is neither.

Examples
--------
Next to each other, for a paper::

    import matplotlib.pyplot as plt
    from corpuscle import plot

    figure, (left, right) = plt.subplots(1, 2, sharey=True)
    plot.scores("results", task="annotation", target="blood", ax=left)
    plot.effects("results", task="annotation", target="blood", ax=right)
    figure.savefig("annotation.pdf")
"""

from corpuscle.plot.corpora import composition
from corpuscle.plot.learning import learning_curves
from corpuscle.plot.ranking import overview
from corpuscle.plot.tasks import effects, scores

__all__ = ["composition", "effects", "learning_curves", "overview", "scores"]
