"""RecBLR sequential recommenders in production.

This package stays light: `import recblr` and `import recblr.runtime` load no PyTorch.
"""

from importlib.metadata import version

__version__ = version("recblr")
