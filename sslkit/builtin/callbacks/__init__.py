"""Callbacks: they watch a run and write it down; they never change it."""
