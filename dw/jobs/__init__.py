"""The floor that every face stands on: from a request to a run, and to its outcome."""
