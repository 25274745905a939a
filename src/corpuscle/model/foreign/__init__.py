"""Reading what others published: weights and dictionaries, of which no code is ever executed."""
