"""What a folder of images holds: measured file by file in processes that may die, then judged as a whole."""
