"""Stage 3, models: settings, fitted weights, and the loop that turns one into the other."""
