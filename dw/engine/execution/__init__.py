"""One run of a workflow: its context and state, its steps, its seeds, its record."""
