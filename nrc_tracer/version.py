"""The package's version, for the package itself, its files and its command line."""

__version__ = "0.1.0"
