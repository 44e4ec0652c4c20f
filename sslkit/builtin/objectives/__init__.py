"""Objectives: from projections to a loss."""
