"""Rehearsal: a study in the small, timed, and from it how long the study takes; nothing of it is kept."""
