"""Lists of images that make a published split; SOURCES.md says where each comes from."""
