"""Replication: one writer per secret, replicas that converge."""
