"""Referring expressions in English: what they say, as data."""
