"""Scores and maps of new images, for people and programs that take them further."""
