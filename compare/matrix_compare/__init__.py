"""Turns the digests of two captures into verdicts."""
