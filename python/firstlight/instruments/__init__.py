"""The cameras that firstlight knows."""
