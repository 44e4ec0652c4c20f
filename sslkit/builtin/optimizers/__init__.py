"""Optimizers: ordinary ones of torch, built from the two groups that the engine makes."""
