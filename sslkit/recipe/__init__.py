"""Recipes: from a TOML file to checked components. read → merge → schema → resolve → write. Imports no torch."""
