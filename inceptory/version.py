"""The version of this package, for itself and for what it writes."""

__version__ = "0.1.0"
