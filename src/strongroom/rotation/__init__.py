"""Automated rotation: what a rotator is, when it is due, and how far each rotation has come."""
