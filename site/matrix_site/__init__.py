"""Turns verdicts into a static site."""
