"""Secret Manager's methods on secrets: what google.cloud.secretmanager.v1 does, by its documentation.

"docs" is https://cloud.google.com/secret-manager/docs.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

from google.cloud import secretmanager_v1 as api
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.protobuf.empty_pb2 import Empty

from strongroom.backend import Clock
from tests.servers import google_rules as rules
from tests.servers.google_filter import matcher
from tests.servers.google_refusal import Refusal, invalid, not_found, precondition
from tests.servers.google_state import Account, Entry, canonical, etags

Late = Literal["latest", "aliases", "lists", "secrets"]
LATE: tuple[Late, ...] = ("latest", "aliases", "lists", "secrets")
_OUTPUT_ONLY = frozenset(("name", "create_time", "policy_member"))  # Secret: "Output only."
_IMMUTABLE = frozenset(("tags", "secret_type"))  # Secret: "Immutable."; of replication, the keys can change
_CHANGEABLE = frozenset(api.Secret.meta.fields) - _OUTPUT_ONLY - _IMMUTABLE
_T = TypeVar("_T")


class Secrets:
    """The state, and the methods on secrets; each takes a request and returns an answer or raises `Refusal`.

    Attributes:
        default_page: how many items a list answers where the request leaves it to the server.
    """

    def __init__(self, clock: Clock) -> None:
        self.lock = threading.RLock()
        self.default_page = 100
        self._etags = etags()
        self._late: frozenset[Late] = frozenset()
        self.reset(clock)

    def reset(self, clock: Clock) -> None:
        """Forget every secret."""
        with self.lock:
            self._account = self._view = Account(clock)
            self._late = frozenset()

    @property
    def clock(self) -> Clock:
        """What times are read from."""
        return self._account.clock

    def freeze(self, *late: Late) -> None:
        """From now on answer these from what stands now, until `thaw`; all if none is named.

        docs reference/consistency: adding a version and accessing it by its number are strongly consistent;
        everything else converges "typically within minutes", but may take hours.
        """
        with self.lock:
            self._view, self._late = self._account.snapshot(), frozenset(late or LATE)

    def thaw(self) -> None:
        """Everything is consistent again."""
        with self.lock:
            self._view, self._late = self._account, frozenset()

    def account(self, late: Late | None = None) -> Account:
        """Where a read that may be late reads."""
        return self._view if late in self._late else self._account

    def create_secret(self, request: api.CreateSecretRequest) -> api.Secret:
        """CreateSecret."""
        parent = canonical(rules.resource(request.parent, rules.PARENT))
        name = f"{parent}/secrets/{rules.secret_id(request.secret_id)}"
        shown = _copy(request.secret)
        rules.replication(parent, shown)
        self._checked(shown)
        if self._account.get(name):
            raise Refusal("ALREADY_EXISTS", f"Secret [{name}] already exists.")
        shown.name, shown.create_time = name, self.clock.now()
        return self._touched(self._account.add(shown))

    def get_secret(self, request: api.GetSecretRequest) -> api.Secret:
        """GetSecret."""
        name = canonical(rules.resource(request.name, rules.SECRET))
        return self.account("secrets").need(name).shown

    def update_secret(self, request: api.UpdateSecretRequest) -> api.Secret:
        """UpdateSecret. The etag stands in the secret itself, in the mask or not (docs etags)."""
        entry = self._account.need(canonical(rules.resource(request.secret.name, rules.SECRET)))
        paths = [path.split(".")[0] for path in request.update_mask.paths]
        if not paths or not _CHANGEABLE.issuperset(paths):
            raise invalid("update_mask must name fields that can be changed.")
        match_etag(request.secret.etag, entry.shown.etag)
        changed = _copy(entry.shown)
        for path in paths:
            _assign(changed, request.secret, path)
        self._checked(changed)
        if not rules.same_places(entry.shown.replication, changed.replication):
            raise invalid("Field [secret.replication] is immutable.")
        entry.shown = changed
        return self._touched(entry)

    def delete_secret(self, request: api.DeleteSecretRequest) -> Empty:
        """DeleteSecret: final, with every version; the name is free at once."""
        name = canonical(rules.resource(request.name, rules.SECRET))
        match_etag(request.etag, self._account.need(name).shown.etag)
        self._account.remove(name)
        return Empty()

    def list_secrets(self, request: api.ListSecretsRequest) -> api.ListSecretsResponse:
        """ListSecrets."""
        parent = canonical(rules.resource(request.parent, rules.PARENT))
        secrets = [entry.shown for entry in self.account("lists").under(parent)]
        page, token = self.page(request, secrets)
        total = 0 if request.filter else len(secrets)
        return api.ListSecretsResponse(secrets=page, next_page_token=token, total_size=total)

    def set_iam_policy(self, request: iam_policy_pb2.SetIamPolicyRequest) -> policy_pb2.Policy:
        """SetIamPolicy, which the double keeps and does not follow; `Faults.deny` denies."""
        entry = self._account.need(canonical(rules.resource(request.resource, rules.SECRET)))
        match_etag(request.policy.etag.decode(), entry.policy.etag.decode())
        entry.policy.CopyFrom(request.policy)
        entry.policy.etag = next(self._etags).encode()
        return entry.policy

    def get_iam_policy(self, request: iam_policy_pb2.GetIamPolicyRequest) -> policy_pb2.Policy:
        """GetIamPolicy."""
        return self._account.need(canonical(rules.resource(request.resource, rules.SECRET))).policy

    def page(self, request: Any, items: Iterable[_T]) -> tuple[list[_T], str]:
        """One page of `items`, filtered, and the token of the next.

        A token holds the last name given out: it is good for the same list alone (AIP-158).
        """
        if request.page_size < 0:
            raise invalid("page_size must not be negative.")
        found = list(filter(matcher(request.filter), items))
        mark = f"{canonical(request.parent)}?{request.filter}#"
        start = _after(found, request.page_token, mark)
        size = min(request.page_size or self.default_page, rules.MAX_PAGE)
        page = found[start : start + size]
        return page, mark + page[-1].name if start + size < len(found) else ""  # type: ignore[attr-defined]

    def _checked(self, shown: api.Secret) -> None:
        """A ttl is input only: what is kept is the expire_time it comes to (Secret.ttl)."""
        now = self.clock.now()
        if "ttl" in shown:
            shown.expire_time = now + shown.ttl
        rules.secret(shown, now)

    def _touched(self, entry: Entry) -> api.Secret:
        entry.shown.etag = next(self._etags)
        return entry.shown


def match_etag(given: str, current: str) -> None:
    """docs etags: "it fails with a FAILED_PRECONDITION error"; without one "the request proceeds"."""
    if given and given != current:
        raise precondition("The etag provided does not match the current etag of the resource.")


def _assign(target: api.Secret, source: api.Secret, path: str) -> None:
    """Take one field over, whole, or clear it where `source` has none."""
    field = "expire_time" if path == "ttl" and "ttl" not in source else path
    if field == "etag":
        return
    target_pb, source_pb = api.Secret.pb(target), api.Secret.pb(source)
    target_pb.ClearField(field)
    target_pb.MergeFrom(_only(source_pb, field))


def _only(message: Any, field: str) -> Any:
    single = type(message)()
    single.CopyFrom(message)
    for name in {descriptor.name for descriptor, _ in message.ListFields()} - {field}:
        single.ClearField(name)
    return single


def _copy(secret: api.Secret) -> api.Secret:
    twin = api.Secret()
    api.Secret.pb(twin).CopyFrom(api.Secret.pb(secret))
    return twin


def _after(items: list[Any], token: str, mark: str) -> int:
    if not token:
        return 0
    if not token.startswith(mark):
        raise invalid("page_token is not of this list.")
    names = [item.name for item in items]
    last = token.removeprefix(mark)
    if last not in names:
        raise not_found(last)
    return names.index(last) + 1
