"""The version of medcnn."""

__version__ = "0.1.0"
