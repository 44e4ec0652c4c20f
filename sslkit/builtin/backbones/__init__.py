"""Backbones: images to features h."""
