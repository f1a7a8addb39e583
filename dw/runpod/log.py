"""What both the start and each request are set off with in the log."""

RULE = "=" * 60
