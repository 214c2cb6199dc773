"""How an engine merges what concurrent callers ask at once, and what it counts."""
