"""Alone: each sampler, alteration, measure, model and task on AnnData, without a study."""
