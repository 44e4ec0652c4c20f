"""Data: where images and labels come from."""
