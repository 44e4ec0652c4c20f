"""Exporters: a pretrained backbone in the format of another library."""
