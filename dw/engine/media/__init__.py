"""Images, videos and audio: as values, and as the bytes of files."""
