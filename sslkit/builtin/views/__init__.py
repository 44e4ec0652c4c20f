"""Views: what an image is turned into before the backbone sees it."""
