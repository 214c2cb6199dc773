"""Comparisons of an export with the model, and measurements of what a lower precision costs."""
