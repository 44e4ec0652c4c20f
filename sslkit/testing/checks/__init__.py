"""What components promise: one file for each kind, one function for each check, whose name is what it says."""
