"""Version of this package; in a file of its own, which every floor may import."""

__version__ = "0.1.0"
