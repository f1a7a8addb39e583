"""One call of a pipeline, and what is set on its models for that call alone."""
