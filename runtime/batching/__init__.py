"""Merges what concurrent callers ask at once."""
