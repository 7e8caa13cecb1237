"""The repository: datasets in files, found by type, collection and data id through a database."""
