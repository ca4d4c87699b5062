"""What Django makes a connection of, where ``DATABASES`` was written by ``django_settings.database``."""

from __future__ import annotations

import functools
from typing import Any

from django.db.utils import load_backend

from strongroom.integrations.django_settings import KEY


def DatabaseWrapper(settings_dict: dict[str, Any], alias: str = "default") -> Any:  # noqa: N802  (Django's name)
    """The wrapper of the real engine, which logs in with the secret."""
    return _logged_in(settings_dict[KEY].engine)(settings_dict, alias)


@functools.cache
def _logged_in(engine: str) -> type[Any]:
    base: type[Any] = load_backend(engine).DatabaseWrapper

    class Wrapper(base):  # type: ignore[misc]
        """Takes the password of each new connection from the store."""

        def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
            """As the engine's, but for what the secret gives."""
            plain, chosen = super().get_new_connection, self.settings_dict[KEY]
            return chosen.login.connect(lambda parts: plain({**conn_params, **parts}))

    return Wrapper
