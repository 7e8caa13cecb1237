"""Reference catalogues: readers and the search by region and epoch."""
