"""The pixel operations of the views: pure functions on tensors, with all randomness in their arguments."""
