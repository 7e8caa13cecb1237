"""One task family a file."""
