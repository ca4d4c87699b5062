"""The metrics that Strongroom emits: their names, kinds, labels, and what they mean.

What a program's own ``/metrics`` calls ``strongroom_cache_reads_total`` is ``strongroom.cache.reads`` in
OpenTelemetry, whose exporters for Prometheus make the first name of it again; so one dashboard fits both.
"""

from __future__ import annotations

from typing import Final, NamedTuple

SECONDS: Final = (0.01, 0.05, 0.25, 1.0, 5.0)
"""Bounds of the buckets of durations: from a healthy provider to one that is about to be given up."""


class Metric(NamedTuple):
    """One metric.

    Attributes:
        name: as Prometheus has it.
        kind: ``counter``, ``gauge`` or ``histogram``.
        labels: what tells its series apart.
        keep: label sets that it has room for whatever the others need, besides ``other``.
        meaning: in a sentence.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    keep: int
    meaning: str

    @property
    def dotted(self) -> str:
        """As OpenTelemetry has it: without what the unit and the kind say."""
        plain = self.name.removesuffix("_total").removesuffix("_seconds").removesuffix("_bytes")
        product, area, *what = plain.split("_", 2)
        return ".".join([product, area, *what])

    @property
    def unit(self) -> str:
        """By UCUM; a word in braces where a thing is counted."""
        plain = self.name.removesuffix("_total")
        return "s" if plain.endswith("_seconds") else "By" if plain.endswith("_bytes") else "{item}"

    @property
    def cost(self) -> int:
        """Series of one label set: a histogram has its buckets, an endless one, a sum and a count."""
        return len(SECONDS) + 3 if self.kind == "histogram" else 1


DURATION: Final = Metric(
    "strongroom_request_duration_seconds",
    "histogram",
    ("kind", "backend"),
    4,
    "Time of a request to a provider, its retries among it; of a listing, of its first page.",
)
REQUESTS: Final = Metric(
    "strongroom_requests_total",
    "counter",
    ("backend", "outcome"),
    12,
    "Requests to providers: ok, or an error's class.",
)
OPERATIONS: Final = Metric(
    "strongroom_operations_total",
    "counter",
    ("operation", "outcome"),
    24,
    "Operations of stores, but for reads of one warm value: ok, or an error's class.",
)
SECRETS: Final = Metric(
    "strongroom_secret_operations_total",
    "counter",
    ("secret", "outcome"),
    0,
    "The same, of the secrets whose names are allowed: ok or failed.",
)
TOLD: Final = (DURATION, REQUESTS, OPERATIONS, SECRETS)
"""What is told as it happens."""

ASKED: Final = tuple(
    Metric(*one)
    for one in (
        (
            "strongroom_cache_reads_total",
            "counter",
            ("store", "outcome"),
            9,
            "Reads: answered from the cache, answered stale in an outage, or waited for the provider.",
        ),
        (
            "strongroom_cache_refreshes_total",
            "counter",
            ("store",),
            3,
            "Values read again behind the readers' backs.",
        ),
        ("strongroom_cache_entries", "gauge", ("store", "state"), 6, "Values that caches hold."),
        (
            "strongroom_notices_received_total",
            "counter",
            ("store", "queue"),
            1,
            "Messages that came out of a queue of change notices.",
        ),
        (
            "strongroom_notices_understood_total",
            "counter",
            ("store", "queue"),
            1,
            "Messages that told which secret may have changed.",
        ),
        (
            "strongroom_notices_hinted_total",
            "counter",
            ("store", "queue"),
            1,
            "Names of this store that were read again for them.",
        ),
        (
            "strongroom_notices_failures_total",
            "counter",
            ("store", "queue"),
            1,
            "Requests to the queue that failed.",
        ),
        (
            "strongroom_breaker_open",
            "gauge",
            ("member",),
            4,
            "Whether a member of a failover is not asked for a while, since it did not answer.",
        ),
        (
            "strongroom_audit_behind_bytes",
            "gauge",
            ("sink",),
            2,
            "Bytes of the audit journal that a sink does not have.",
        ),
        (
            "strongroom_audit_skipped_total",
            "counter",
            ("sink",),
            2,
            "Records that were given up, since the sink was too far behind.",
        ),
        ("strongroom_rotation_passes_total", "counter", ("outcome",), 2, "Looks at the ledger, by outcome."),
        (
            "strongroom_rotation_steps_total",
            "counter",
            ("step", "outcome"),
            12,
            "Steps by outcome: ok, or an error's class.",
        ),
        ("strongroom_rotation_silence_seconds", "gauge", (), 0, "Seconds since a pass succeeded."),
        ("strongroom_rotation_open", "gauge", ("state",), 9, "Open rotations by state, of 10000 at most."),
        (
            "strongroom_rotation_due",
            "gauge",
            (),
            0,
            "Secrets that are due and wait for a worker, 10000 at most.",
        ),
        (
            "strongroom_rotation_due_oldest_seconds",
            "gauge",
            (),
            0,
            "How long the longest of them has been due, in seconds.",
        ),
        (
            "strongroom_replica_passes_total",
            "counter",
            ("replica", "outcome"),
            4,
            "Passes over a replica, by outcome.",
        ),
        (
            "strongroom_replica_writes_total",
            "counter",
            ("replica", "outcome"),
            4,
            "Changes brought to a replica, by outcome.",
        ),
        (
            "strongroom_replica_drift_total",
            "counter",
            ("replica",),
            2,
            "Names found that somebody else had changed at the replica.",
        ),
        (
            "strongroom_replica_silence_seconds",
            "gauge",
            ("replica",),
            2,
            "Seconds since all names were compared.",
        ),
        (
            "strongroom_replica_lag_seconds",
            "gauge",
            ("replica",),
            2,
            "Age of the oldest change that is known and not at the replica.",
        ),
        (
            "strongroom_replica_lag_versions",
            "gauge",
            ("replica",),
            2,
            "Versions that are not at the replica.",
        ),
        (
            "strongroom_replica_quarantined",
            "gauge",
            ("replica",),
            2,
            "Names whose two values claim one place; a person decides.",
        ),
    )
)
"""What is asked for when somebody collects: families of those names, whoever in the process has them."""

METRICS: Final = (*TOLD, *ASKED)
