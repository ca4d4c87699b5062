"""Plain boto3 clients, as any other program has them."""

from __future__ import annotations

import functools
from typing import Any

REGION = "eu-west-1"


@functools.cache
def session(region: str = REGION) -> Any:
    """One session of this process: a new one takes 200 ms to read the API models again."""
    import boto3  # slow to import, and only some tests need it

    return boto3.Session("test", "test", region_name=region)
