"""Pictures, films and sounds: as values, and as the bytes of files."""
