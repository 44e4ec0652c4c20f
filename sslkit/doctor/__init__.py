"""`sslkit doctor`: what a run will find on this machine, and whether sslkit's promises hold on it. Imports no torch."""
