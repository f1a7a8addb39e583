"""Coloured shapes on coloured grounds: a world small enough for a model that ships with dw."""
