"""The mixture oracle: what to train on, found in stages, each of which is an ordinary study."""
