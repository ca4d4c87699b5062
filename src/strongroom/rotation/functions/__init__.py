"""Rotators run by the clouds' functions."""
