"""What a person or a program sees: renderers, messages, tables, images."""
