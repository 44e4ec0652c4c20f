"""Plugins and their components: what is installed, who owns it, which options it takes. Imports no torch."""
