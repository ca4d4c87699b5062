"""Scenes in Airflow's own environment: run by its Python as ``airflow_scene.py SCENE [ARG]``, prints JSON.

What is configured stands in the environment, as in a deployment; see `test_airflow_secrets.py`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any


def _asked(conn_id: str) -> str:
    """What a task is told of a connection: its host and login, or the error."""
    from airflow.sdk import Connection

    try:
        found = Connection.get(conn_id)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return f"{found.conn_type} {found.login} {found.host} {found.schema} {bool(found.password)}"


def connection(conn_id: str) -> str:
    """One lookup, as a task's."""
    return _asked(conn_id)


def server(conn_id: str) -> str:
    """One lookup, as the scheduler's and the API server's."""
    from airflow.models import Connection

    try:
        return str(Connection.get_connection_from_secrets(conn_id).login)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def many(conn_id: str) -> list[str]:
    """A hundred lookups of one process, each by a worker's and by a server's way."""
    return sorted({_asked(conn_id) for _ in range(50)} | {server(conn_id) for _ in range(50)})


def variable(key: str) -> str:
    """A variable, as a task reads it; whether it is the text that was stored."""
    from airflow.sdk import Variable

    return str(Variable.get(key) == os.environ["EXPECTED"])


def option(_: str) -> str:
    """An option of ``airflow.cfg`` whose value is a secret."""
    from airflow.configuration import conf

    return str(conf.get("core", "fernet_key") == os.environ["EXPECTED"])


def parses(conn_id: str) -> list[str]:
    """A DAG's file is parsed in a new process each time: what each is told, three times over."""
    from airflow.sdk.execution_time.cache import SecretCache

    SecretCache.init()
    told = []
    for _ in range(3):
        reading, writing = os.pipe()
        if not (child := os.fork()):
            os.write(writing, _asked(conn_id).encode())
            os._exit(0)
        os.waitpid(child, 0)
        os.close(writing)
        with os.fdopen(reading) as told_by_child:
            told.append(told_by_child.read())
    return told


def operators(_: str) -> list[str]:
    """Strongroom's operators are operators of this Airflow."""
    from airflow.sdk import DAG, BaseOperator

    from strongroom.integrations.airflow_operator import RotateSecretOperator, RotationTickOperator

    with DAG("rotation", schedule=None):
        tasks: list[Any] = [
            RotationTickOperator(task_id="due"),
            RotateSecretOperator(task_id="a", secret="a"),
        ]
    return [type(task).__name__ for task in tasks if isinstance(task, BaseOperator)]


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    scene = {one.__name__: one for one in (connection, server, many, variable, option, parses, operators)}
    sys.stdout.write("\n" + json.dumps(scene[sys.argv[1]](sys.argv[2] if len(sys.argv) > 2 else "")) + "\n")
