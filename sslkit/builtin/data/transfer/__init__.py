"""The official layouts of the transfer sets on disk, one file per family."""
