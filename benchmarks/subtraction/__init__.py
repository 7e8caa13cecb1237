"""What the benchmark of subtraction is made of: pairs of known truth, methods, and how each is judged."""
