"""How old the oldest of the values that rotate is: CloudWatch makes a metric of a line in a function's log.

An event says that a rotation failed; nothing says that none began.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Final

from strongroom.rotation.policy import secret_of

if TYPE_CHECKING:
    from datetime import datetime

    from .opening import Opened

_NAME: Final = "AWS_LAMBDA_FUNCTION_NAME"
_METRIC: Final = "OldestValueAge"
_DIRECTIVE: Final = {
    "Namespace": "Strongroom",
    "Dimensions": [["FunctionName"]],
    "Metrics": [{"Name": _METRIC, "Unit": "Seconds"}],
}


def tell(found: Opened, now: datetime) -> None:
    """Print the metric, in a Lambda function: no secret's name is in it, since each would be a metric to pay.

    Raises:
        UnavailableError: the ledger does not answer, or a store that is asked when its secret was made.
    """
    function, since = os.environ.get(_NAME), _since(found)
    if not function or since is None:
        return
    told = {"_aws": {"Timestamp": int(now.timestamp() * 1000), "CloudWatchMetrics": [_DIRECTIVE]}}
    age = max(0.0, (now - since).total_seconds())
    sys.stdout.write(json.dumps({**told, "FunctionName": function, _METRIC: age}) + "\n")
    sys.stdout.flush()


def _since(found: Opened) -> datetime | None:
    """When the oldest value became current; of one that never was rotated, when its secret was made."""
    known = found.ledger.known([secret_of(policy) for policy in found.policies])
    made = [
        known[secret_of(policy)].last_success or policy.store.describe(policy.name).created_at
        for policy in found.policies
    ]
    return min((date for date in made if date), default=None)
