"""How foundation models were taught cell types by those who published them: settings by name, under their sources.

Warm-up is a tenth of the steps where it was published as a number of them, as a training may be shorter than that.
"""

from collections.abc import Mapping
from typing import Any

PUBLISHED_TRAININGS: Mapping[str, Mapping[str, Any]] = {
    # https://huggingface.co/ctheodoris/Geneformer, geneformer/classifier.py: 10 epochs of batches of 12; models of six
    # layers with 500 steps of warm-up. Best epoch by the loss of held-out cells there; the last weights here.
    "geneformer-6L": {
        "learning_rate": 5e-5, "weight_decay": 0.001, "batch_size": 12, "budget": {"epochs": 10},
        "rate_schedule": {"warmup": 0.1, "decay": "linear"}, "clip_norm": 1.0,
    },
    "geneformer": {
        "learning_rate": 5e-5, "weight_decay": 0.001, "batch_size": 12, "budget": {"epochs": 10},
        "rate_schedule": {"decay": "linear"}, "clip_norm": 1.0,
    },
    # https://github.com/bowang-lab/scGPT, as https://github.com/clinicalml/sc-foundation-eval runs it.
    "scgpt": {
        "learning_rate": 1e-4, "batch_size": 32, "budget": {"epochs": 30}, "clip_norm": 1.0,
        "rate_schedule": {"decay": "stepwise", "factor": 0.9, "epochs": 1},
    },
    # https://github.com/TencentAILabHealthcare/scBERT, finetune.py: batches of 3, 60 of them a step, patience of 10
    # epochs (on accuracy there, on the loss here). Its rate follows a cosine that restarts; here it stays.
    "scbert": {
        "learning_rate": 1e-4, "batch_size": 180, "accumulate": 60, "budget": {"epochs": 100, "patience": 10},
        "validation_share": 0.2,
    },
}  # fmt: skip
