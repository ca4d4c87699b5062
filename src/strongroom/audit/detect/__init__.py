"""Detections: Sigma rules, and the engine that runs them on a journal."""
