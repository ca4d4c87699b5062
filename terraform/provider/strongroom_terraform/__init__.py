"""Terraform's provider of Strongroom: plugin protocol 6, in Python."""
