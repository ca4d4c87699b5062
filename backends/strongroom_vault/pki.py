"""Certificates of a PKI engine, renewed ahead of their end: ``vault-pki://HOST:PORT/MOUNT``.

The name ``web/api.example.net`` is a certificate for ``api.example.net`` under the role ``web``: JSON of PEM
texts, ``certificate``, ``private_key`` (PKCS#8), ``ca_chain`` and ``issuing_ca``. Its version is its
serial number.

The key pair is made here and only a request to sign is sent (``MOUNT/sign/ROLE``), so that the private key is
nowhere but in this process. A certificate cannot be renewed: at two thirds of its life another is made, with
a key of its own, while the one before goes on being good to its end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509

from strongroom.errors import InvalidRequestError, SecretNotFoundError
from strongroom.value import SecretValue

from . import _errors, key_pairs
from .leased import Issued, Leases
from .rotating import segment
from .transport import Answer, Request, json_body

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.names import Name

    from .address import Address

_FORM = "a name here is ROLE/COMMON-NAME, such as web/api.example.net"
_ROLE = "is there such a role, and does it allow these names and this type of key? bao read MOUNT/roles/ROLE"


class LeasedCertificates(Leases):
    """Certificates for whoever opens this; each process has its own, with its own key.

    Args:
        address: the server and where its engine is mounted.
        settings: how to get there. Options, which hold for all names of the store: ``ttl`` (seconds; by
            default the role's), ``key_type`` (``ec-p256``; see `key_pairs`), ``alt_names``, ``ip_sans`` and
            ``uri_sans`` (lists), and ``grace``: seconds after which a replaced certificate is revoked; by
            default it lives to its end.

    Raises:
        InvalidRequestError: as `Leases`, or an option cannot be.
    """

    scheme = "vault-pki"
    option_keys = ("alt_names", "at_close", "grace", "ip_sans", "key_type", "namespace", "ttl", "uri_sans")
    default_grace = math.inf

    def __init__(self, address: Address, settings: Settings):
        super().__init__(address, settings)
        options = settings.options
        self._key_type = key_pairs.check_type(str(options.get("key_type", "ec-p256")))
        self._alt_names = _texts(options, "alt_names")
        self._ip_sans = _texts(options, "ip_sans")
        self._uri_sans = _texts(options, "uri_sans")
        self._asked: dict[str, Any] = {"format": "pem", "alt_names": ",".join(self._alt_names)}
        self._asked |= {"ip_sans": ",".join(self._ip_sans), "uri_sans": ",".join(self._uri_sans)}
        self._asked |= {"ttl": _ttl(options["ttl"])} if "ttl" in options else {}
        self._builder("name.example.net")  # a wrong option is told when the store is opened

    def issue(self, name: Name) -> Issued:
        role, _, common_name = name.text.partition("/")
        if not common_name or "/" in common_name:
            raise SecretNotFoundError("no certificate has such a name", hint=_FORM)
        key = key_pairs.new_key(self._key_type)
        csr = key_pairs.signed(self._builder(common_name), key)
        path = f"{self._address.mount}/sign/{segment(role, 'role')}"
        body = json_body({**self._asked, "common_name": common_name, "csr": csr})
        # A repeated request is harmless: the certificate whose answer was lost has a key that was forgotten.
        return self._issued(
            self._signed(Request("get", "POST", path, body, grant=path, needs='"update"')), key
        )

    def lives(self, issued: Issued) -> bool:
        if issued.lease_id and not super().lives(issued):
            return False
        asked = Request("refresh", "GET", f"{self._address.mount}/cert/{issued.version}")
        answer = self._client.read(asked, missing_ok=True)  # under `no_store` the engine knows none
        return not (answer.ok and answer.data.get("revocation_time"))

    def revoke(self, issued: Issued) -> None:
        if issued.lease_id:
            super().revoke(issued)
            return
        body = json_body({"serial_number": issued.version})
        self._client.write(Request("close", "POST", f"{self._address.mount}/revoke", body))

    def _builder(self, common_name: str) -> x509.CertificateSigningRequestBuilder:
        # The role says whether the names are taken from the request to sign or from its fields
        # (`use_csr_common_name`, `use_csr_sans`): they stand in both.
        return key_pairs.request(common_name, self._alt_names, self._ip_sans, self._uri_sans)

    def _signed(self, request: Request) -> Answer:
        try:
            return self._client.read(request)
        except (InvalidRequestError, SecretNotFoundError) as error:
            error.hint = error.hint or _ROLE
            raise

    def _issued(self, answer: Answer, key: key_pairs.PrivateKey) -> Issued:
        made = answer.data
        certificate = _certificate(made)
        if certificate is None or certificate.public_key() != key.public_key():
            raise _errors.garbage("get")
        # By the authority's clock, which also set the end: ours may be off, and only the difference counts.
        now = (answer.date or self._clock.now()).astimezone(UTC)
        left = (certificate.not_valid_after_utc - now).total_seconds()
        if left <= 0:
            raise _errors.garbage("get")
        value = _value(made, key_pairs.written(key))
        serial = key_pairs.serial_of(certificate)
        lease_id = answer.lease["lease_id"] or ""
        return Issued(value, serial, left, str(lease_id), created_at=now)


def _certificate(made: Mapping[str, Any]) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(made["certificate"].encode())
    except (AttributeError, KeyError, ValueError):
        return None


def _value(made: Mapping[str, Any], key: SecretValue) -> SecretValue:
    issuer = str(made.get("issuing_ca") or "")
    told = made.get("ca_chain")
    chain = [str(each) for each in told] if isinstance(told, list) and told else [issuer]
    public = {"certificate": made["certificate"], "issuing_ca": issuer, "ca_chain": "\n".join(chain)}
    return json_body({**public, "private_key": key.reveal_text()})


def _texts(options: Mapping[str, Any], name: str) -> Sequence[str]:
    given = options.get(name, ())
    if isinstance(given, list | tuple) and all(isinstance(each, str) and "," not in each for each in given):
        return tuple(given)
    raise InvalidRequestError(f"{name} is a list of names")


def _ttl(given: object) -> int:
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 1 <= seconds < math.inf:
        return int(seconds)
    raise InvalidRequestError("ttl is a number of seconds, 1 or more")
