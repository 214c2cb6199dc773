"""The command-line tools of this room, and what all of recblr's tools share (`recblr.cli.common`)."""
