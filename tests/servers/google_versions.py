"""Secret Manager's methods on versions, by their documentation ("docs" as in google_secrets)."""

from __future__ import annotations

from collections import defaultdict, deque

from google.cloud import secretmanager_v1 as api

from strongroom.backend import Clock
from tests.servers import google_rules as rules
from tests.servers.google_refusal import Refusal, invalid, not_found, precondition
from tests.servers.google_secrets import Secrets, match_etag
from tests.servers.google_state import LATEST, Entry, State, Version, canonical, newest_first


class SecretManager(Secrets):
    """The whole service.

    Attributes:
        quota: whether AddSecretVersion is limited to 2 a second and secret, on the double's clock.
        strict_quota: whether UpdateSecret counts too, both together. The documentation can be read so.
    """

    quota = False
    strict_quota = False

    def reset(self, clock: Clock) -> None:
        super().reset(clock)
        self.quota = self.strict_quota = False
        self._written: defaultdict[str, deque[float]] = defaultdict(deque)

    def update_secret(self, request: api.UpdateSecretRequest) -> api.Secret:
        if self.strict_quota:
            self._spend(canonical(request.secret.name))
        return super().update_secret(request)

    def add_secret_version(self, request: api.AddSecretVersionRequest) -> api.SecretVersion:
        """AddSecretVersion. It takes no etag, and the secret's own etag stays (docs etags)."""
        name = canonical(rules.resource(request.parent, rules.SECRET))
        entry = self.account().need(name)
        _check_payload(request.payload)
        if self.quota or self.strict_quota:
            self._spend(name)
        number = max(entry.versions, default=0) + 1
        shown = api.SecretVersion(
            name=f"{name}/versions/{number}",
            create_time=self.clock.now(),
            state=State.ENABLED,
            client_specified_payload_checksum="data_crc32c" in request.payload,
            replication_status=_status(entry.shown),
        )
        data = request.payload.data
        entry.versions[number] = version = Version(shown, data, rules.crc32c(data))
        return self._stamped(version)

    def access_secret_version(
        self, request: api.AccessSecretVersionRequest
    ) -> api.AccessSecretVersionResponse:
        """AccessSecretVersion: of an ENABLED version alone."""
        version = self._version(request.name)
        _need_state(version, State.ENABLED)
        payload = api.SecretPayload(data=version.payload)
        if version.checksum is not None:  # docs data-integrity: CMEK versions before July 2021 have none
            payload.data_crc32c = version.checksum
        return api.AccessSecretVersionResponse(name=version.shown.name, payload=payload)

    def get_secret_version(self, request: api.GetSecretVersionRequest) -> api.SecretVersion:
        """GetSecretVersion."""
        return self._version(request.name).shown

    def list_secret_versions(self, request: api.ListSecretVersionsRequest) -> api.ListSecretVersionsResponse:
        """ListSecretVersions, of all states."""
        entry = self.account("lists").need(canonical(rules.resource(request.parent, rules.SECRET)))
        versions = [version.shown for version in newest_first(entry.versions.values())]
        page, token = self.page(request, versions)
        total = 0 if request.filter else len(versions)
        return api.ListSecretVersionsResponse(versions=page, next_page_token=token, total_size=total)

    def enable_secret_version(self, request: api.EnableSecretVersionRequest) -> api.SecretVersion:
        """EnableSecretVersion; it also cancels a scheduled destruction."""
        return self._moved(request, State.ENABLED)

    def disable_secret_version(self, request: api.DisableSecretVersionRequest) -> api.SecretVersion:
        """DisableSecretVersion; it also cancels a scheduled destruction."""
        return self._moved(request, State.DISABLED)

    def destroy_secret_version(self, request: api.DestroySecretVersionRequest) -> api.SecretVersion:
        """DestroySecretVersion: at once, or disabled first where the secret has a version_destroy_ttl."""
        entry, version = self._exact(request.name)
        match_etag(request.etag, version.shown.etag)
        _need_state(version, State.ENABLED, State.DISABLED)
        if entry.shown.version_destroy_ttl:
            version.shown.state = State.DISABLED
            version.shown.scheduled_destroy_time = self.clock.now() + entry.shown.version_destroy_ttl
        else:
            version.destroy(self.clock.now())
        return self._stamped(version)

    def forget_checksum(self, name: str) -> None:
        """Make a version one of those encrypted under CMEK before July 16, 2021, which have no checksum."""
        self._exact(name)[1].checksum = None

    def _moved(
        self, request: api.EnableSecretVersionRequest | api.DisableSecretVersionRequest, state: State
    ) -> api.SecretVersion:
        """docs etags: "Even when an update doesn't change a resource's state, it still updates the ETag"."""
        version = self._exact(request.name)[1]
        match_etag(request.etag, version.shown.etag)
        _need_state(version, State.ENABLED, State.DISABLED)
        version.shown.state = state
        del version.shown.scheduled_destroy_time
        return self._stamped(version)

    def _version(self, name: str) -> Version:
        """By number: consistent. By ``latest`` or an alias: perhaps late."""
        secret, _, text = canonical(rules.resource(name, rules.VERSION)).rpartition("/versions/")
        account = self.account()
        if not text.isdecimal():
            account = self.account("latest" if text == LATEST else "aliases")
        entry = account.need(secret)
        number = entry.number(text)
        if number is None and text == LATEST:
            raise Refusal("NOT_FOUND", f"Secret [{secret}] not found or has no versions.")
        if number not in entry.versions:
            raise _no_version(secret, text)
        return entry.versions[number]

    def _exact(self, name: str) -> tuple[Entry, Version]:
        """Secret.version_aliases: an alias serves GetSecretVersion and AccessSecretVersion alone."""
        secret, _, text = canonical(rules.resource(name, rules.VERSION)).rpartition("/versions/")
        if not text.isdecimal():
            raise invalid("An alias cannot be used here.")
        entry = self.account().need(secret)
        if int(text) not in entry.versions:
            raise _no_version(secret, text)
        return entry, entry.versions[int(text)]

    def _stamped(self, version: Version) -> api.SecretVersion:
        version.shown.etag = next(self._etags)
        return version.shown

    def _spend(self, name: str) -> None:
        now, written = self.clock.monotonic(), self._written[name]
        while written and written[0] <= now - 1:
            written.popleft()
        if len(written) >= rules.WRITES_PER_SECOND["regional" if "/locations/" in name else "global"]:
            message = "Quota exceeded for writes of this secret per second."
            raise Refusal("RESOURCE_EXHAUSTED", message, retry_after=written[0] + 1 - now)
        written.append(now)


def _check_payload(payload: api.SecretPayload) -> None:
    if not payload.data:  # Google's words, github.com/hashicorp/terraform-provider-google/issues/10475
        raise invalid("Field [payload] is required.")
    if len(payload.data) > rules.MAX_PAYLOAD:
        raise invalid(f"The payload is larger than {rules.MAX_PAYLOAD} bytes.")
    if "data_crc32c" in payload and payload.data_crc32c != rules.crc32c(payload.data):
        raise invalid("The payload's checksum does not match its data.")  # docs data-integrity


def _need_state(version: Version, *states: State) -> None:
    if version.shown.state not in states:
        # Google's words: github.com/google-github-actions/get-secretmanager-secrets/issues/268
        state = State(version.shown.state).name
        raise precondition(f"Secret Version [{version.shown.name}] is in {state} state.")


def _no_version(secret: str, text: str) -> Refusal:
    return not_found(f"{secret}] or version [{text}")


def _status(secret: api.Secret) -> api.ReplicationStatus:
    """Where a version lies, and under which key version (ReplicationStatus)."""
    if "user_managed" in secret.replication:
        places = [
            {"location": replica.location, **_key(replica)}
            for replica in secret.replication.user_managed.replicas
        ]
        return api.ReplicationStatus(user_managed={"replicas": places})
    if "automatic" in secret.replication:
        return api.ReplicationStatus(automatic=_key(secret.replication.automatic))
    return api.ReplicationStatus()


def _key(holder: object) -> dict[str, dict[str, str]]:
    name = getattr(getattr(holder, "customer_managed_encryption", None), "kms_key_name", "")
    key = {"kms_key_version_name": f"{name}/cryptoKeyVersions/1"}
    return {"customer_managed_encryption": key} if name else {}
