"""Evaluations: what frozen features are worth."""
