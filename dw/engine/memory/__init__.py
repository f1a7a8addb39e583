"""Memory: what a load will need, what to do when it runs out, what a clear frees."""
