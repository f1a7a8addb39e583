"""Jobs: from a run request to its outcome, for every face."""
