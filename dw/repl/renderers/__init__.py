"""What is shown of a session: `plain` lines, a `live` terminal, or `ndjson` for machines."""
