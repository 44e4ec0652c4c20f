"""Heads: from features to what an objective takes."""
