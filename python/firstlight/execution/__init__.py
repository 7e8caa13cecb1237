"""Running pipelines over a repository: planning, executing, resuming, reporting."""
