"""Starting many processes for one run and ending them together: on this machine, on several, on a SLURM cluster."""
