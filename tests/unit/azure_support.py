"""What the tests of the Azure double share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError


def refused(call: Callable[[], object]) -> tuple[int | None, str | None, str | None]:
    """Status, code and inner code of the answer that `call` gets."""
    with pytest.raises(HttpResponseError) as caught:
        call()
    error: Any = caught.value.error
    return caught.value.status_code, error.code, (error.innererror or {}).get("code")
