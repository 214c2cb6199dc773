"""The command-line tools of the runtime."""
