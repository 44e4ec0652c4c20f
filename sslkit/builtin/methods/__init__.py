"""Methods: how a batch of views becomes a loss."""
