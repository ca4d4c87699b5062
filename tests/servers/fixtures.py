"""Real servers as fixtures (a pytest plugin): each started once per process, when a test first asks."""
