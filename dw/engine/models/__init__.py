"""From what a workflow says of its models to models in memory, loaded once and kept."""
