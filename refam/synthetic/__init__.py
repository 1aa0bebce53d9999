"""Rendered scenes with their captions, referring expressions and true masks."""
