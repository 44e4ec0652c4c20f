"""Studies of runs that are there: scores, intervals, significance, folders to rows, pages. Imports no torch."""
