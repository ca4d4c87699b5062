"""Rotators for the targets that people have most."""
