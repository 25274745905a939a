"""Do the foundation models learn, tiny and from scratch? On made cells in seconds; on packaged cells in minutes."""

import time

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier

import corpuscle
from corpuscle.core.components import build
from corpuscle.corpus.corpus import KEYS, Corpus
from corpuscle.model.model import Model
from corpuscle.model.training.fine_tuning import FineTuning, fine_tune
from corpuscle.source.gene_names import gene_names
from corpuscle.source.genes import gene_space
from corpuscle.source.source import open_source
from unigram import BASELINES, at_the_end

# Steps, and what is best next to the defaults of the size "tiny".
ON_MADE_CELLS = {
    "geneformer": {"budget": {"steps": 60}},
    "scgpt": {"budget": {"steps": 200}, "ties": "middle"},
    "scbert": {"budget": {"steps": 100}},
    "transcriptformer": {"budget": {"steps": 120}, "scale": "length"},
}
ON_BLOOD = {
    "geneformer": {"budget": {"steps": 400}},
    "scgpt": {"budget": {"steps": 400}, "ties": "middle", "pooling": "mean"},
    "scbert": {"budget": {"steps": 300}, "batch_size": 4, "pooling": "expressed"},
    "transcriptformer": {"budget": {"steps": 200}, "batch_size": 8, "scale": "length"},
}
# Without warm-up, some of the networks fall to one answer for all cells.
WAY = {"learning_rate": 3e-3, "batch_size": 8, "budget": {"steps": 150}, "clip_norm": 1.0, "validation_share": 0.0,
       "rate_schedule": {"warmup": 0.1, "decay": "linear"}}  # fmt: skip
# What learns more slowly.
OWN_WAY = {
    "scgpt": {"learning_rate": 1e-3, "budget": {"steps": 400}},
    "transcriptformer": {"learning_rate": 1e-3, "budget": {"steps": 200}},
}
# By how much the macro-F1 of neighbours rises over that of the same network before its first step. Not scBERT's: in so
# shallow cells, most levels follow from a cell's depth and the gene, and that is what it learns first.
MARGINS = {"geneformer": 0.05, "scgpt": 0.05, "transcriptformer": 0.02}
# Which gene comes next, TranscriptFormer says by frequencies alone after so few steps; its loss has counts, too.
AS_FREQUENT = {"gene_cross_entropy"}
# By how much the macro-F1 of each seed's fine-tuned network is above that of the majority, 0.05.
ABOVE_MAJORITY = {"geneformer": 0.2, "scgpt": 0.1, "scbert": 0.05, "transcriptformer": 0.05}


@pytest.fixture
def made(make_corpus):
    """Three types of cells, seven in ten of one: a third of the genes is 20 times as frequent in each.

    One gene has most counts, so that levels per 10,000 differ.
    """
    rng = np.random.default_rng(0)
    types = rng.choice(3, size=300, p=[0.7, 0.15, 0.15])
    rates = np.where(np.arange(60) % 3 == types[:, None], 4.0, 0.2) * rng.gamma(2, 0.5, 60)
    rates[:, 0] = 2000
    corpus = make_corpus(rng.poisson(rates).astype(np.float32))
    corpus.cells["cell_type"] = types.astype(str)
    return corpus


def parted(corpus, n_training):
    """Draw cells to train on, and cells to ask."""
    drawn = np.random.default_rng(0).permutation(len(corpus))
    return corpus.take(drawn[:n_training]), corpus.take(drawn[n_training:])


def neighbours(fitted, training, asked):
    """Return the macro-F1 of cell types that the five nearest training cells say."""
    found = KNeighborsClassifier(5).fit(fitted.embed(training), training.labels("cell_type"))
    return f1_score(asked.labels("cell_type"), found.predict(fitted.embed(asked)), average="macro")


def of_the_majority(training, asked):
    """Return the macro-F1 of a guess that all cells are of the most frequent type."""
    values, counts = np.unique(training.labels("cell_type"), return_counts=True)
    guess = np.full(len(asked), values[counts.argmax()])
    return f1_score(asked.labels("cell_type"), guess, average="macro")


def annotated(tuned, asked):
    """Return the macro-F1 of the labels that a fine-tuned model holds for the likeliest."""
    guess = np.array(tuned.labels)[tuned.label_probabilities(asked).argmax(1)]
    return f1_score(asked.labels("cell_type"), guess, average="macro")


@pytest.mark.parametrize("name", ON_MADE_CELLS)
def test_a_tiny_model_learns_more_than_frequencies(name, made):
    training, asked = parted(made, 200)
    fitted = build(Model, name, ON_MADE_CELLS[name]).fit(training, 0)
    for term, unigram in BASELINES[name](fitted, training).items():
        assert at_the_end(fitted, term) < unigram, term
    way = FineTuning(weights="whole", learning_rate=2e-3, batch_size=16, budget={"steps": 60})
    tuned = fine_tune(fitted, training, training.labels("cell_type"), way, seed=0)
    assert annotated(tuned, asked) > of_the_majority(training, asked) + 0.2


@pytest.fixture(scope="module")
def blood():
    """The packaged blood cells: 700 to train on, 400 to ask."""
    source = open_source("blood", corpuscle.dataset_path("kang2018"))
    cells = source.cells.assign(source="blood", times=1).reset_index(drop=True)
    cells = pd.DataFrame(cells[[*KEYS, *(column for column in cells if column not in KEYS)]])
    corpus = Corpus("blood", cells, {"blood": source.reader}, gene_space({"blood": gene_names(source.genes)}))
    training, rest = parted(corpus, 700)
    return training, rest.take(np.arange(400))


@pytest.mark.thorough
@pytest.mark.parametrize("name", ON_BLOOD)
def test_a_tiny_model_learns_from_blood(name, blood, capsys):
    training, asked = blood
    tuned_to = FineTuning(weights="whole", **WAY | OWN_WAY.get(name, {}))
    found = []
    for seed in range(3):
        untrained = build(Model, name, {**ON_BLOOD[name], "budget": {"steps": 0}}).fit(training, seed)
        started = time.process_time()
        fitted = build(Model, name, ON_BLOOD[name]).fit(training, seed)
        row = {"seed": seed, "CPU seconds": time.process_time() - started}
        for term, unigram in BASELINES[name](fitted, training).items():
            row |= {term: at_the_end(fitted, term), f"{term}, by frequencies": unigram}
        row["before"], row["after"] = (neighbours(one, training, asked) for one in (untrained, fitted))
        tuned = fine_tune(fitted, training, training.labels("cell_type"), tuned_to, seed=seed)
        row["fine-tuned"] = annotated(tuned, asked)
        found.append(row)
        with capsys.disabled():
            print(f"\n{name}:", ", ".join(f"{what} {value:.3g}" for what, value in row.items()))  # noqa: T201
    table = pd.DataFrame(found)
    for term in BASELINES[name](fitted, training).keys() - AS_FREQUENT:
        assert (table[term] < table[f"{term}, by frequencies"]).all(), table
    assert (table["after"] - table["before"]).mean() > MARGINS.get(name, -1), table
    assert table["fine-tuned"].min() > of_the_majority(training, asked) + ABOVE_MAJORITY[name], table
