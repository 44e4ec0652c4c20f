"""Schedules: pure functions from progress to a factor."""
