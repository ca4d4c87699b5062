"""What every test gets: the canary guard, the summary of the run, and the real servers on demand."""

from __future__ import annotations

pytest_plugins = ["pytester", "tests.guard", "tests.servers.fixtures"]
