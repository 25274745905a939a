"""Mean profile: expects the same of every cell, the mean of the corpus. A model in a folder, with a part of its own."""

from corpuscle.model.architectures.mean_profile.model import MeanProfile

__all__ = ["MeanProfile"]
