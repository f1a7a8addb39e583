"""The JSON format as pydantic models."""
