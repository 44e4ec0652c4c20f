"""Optimizers: ordinary ones of torch, built from the groups that the engine makes."""
