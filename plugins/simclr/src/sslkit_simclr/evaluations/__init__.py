"""Evaluations: what the features of SimCLR know of its views."""
