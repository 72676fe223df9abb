"""Runs colbert-ai under one torch release and records a digest of every tensor it makes."""

__version__ = "0.1.0"
