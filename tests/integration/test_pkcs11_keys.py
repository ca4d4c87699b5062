"""Keys in real tokens: how they are made, and what other programs make of what they wrapped and signed."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import replace
from typing import Any

import pkcs11
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding, aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11 import Attribute, KeyType, MechanismFlag, ObjectClass

from strongroom.errors import IntegrityError, InvalidRequestError, SecretConflictError, UnavailableError
from strongroom.keys import bind, encode_context, raw_signature
from strongroom.registry import open_key, open_signer
from strongroom.testing.clock import FakeClock
from strongroom_pkcs11 import create
from strongroom_pkcs11.create import KINDS, create_key
from strongroom_pkcs11.wrapping import KeyWrapPad
from tests.servers.softhsm import TestToken

CONTEXT = {"domain": "prod", "name": "db/password"}
DATA_KEY = bytes(range(32))
_PRIVATE_CLASSES = (ObjectClass.SECRET_KEY, ObjectClass.PRIVATE_KEY)


@pytest.fixture
def label(softhsm_token: TestToken) -> str:
    return softhsm_token.unique()


def objects(session: Any, label: str) -> list[Any]:
    return list(session.get_objects({Attribute.LABEL: label}))


def imported(token: TestToken, label: str, kek: bytes, capabilities: MechanismFlag) -> str:
    """A KEK whose bytes the test knows, put into the token by another program."""
    uses = {
        Attribute.WRAP: bool(capabilities & MechanismFlag.WRAP),
        Attribute.UNWRAP: bool(capabilities & MechanismFlag.UNWRAP),
        Attribute.ENCRYPT: bool(capabilities & MechanismFlag.ENCRYPT),
        Attribute.DECRYPT: bool(capabilities & MechanismFlag.DECRYPT),
    }
    with token.native() as session:
        session.create_object(
            {
                Attribute.CLASS: ObjectClass.SECRET_KEY,
                Attribute.KEY_TYPE: KeyType.AES,
                Attribute.LABEL: label,
                Attribute.VALUE: kek,
                Attribute.TOKEN: True,
                **uses,
            }
        )
    return token.url(label)


class TestCreate:
    """`strongroom key create pkcs11:…`."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_key_never_leaves_its_token(self, softhsm_token: TestToken, label: str, kind: str) -> None:
        """Made inside, sensitive, not extractable, for ever; what another program sees of it."""
        url = create_key(softhsm_token.url(label), softhsm_token.settings(), kind)
        assert url == softhsm_token.url(label)
        with softhsm_token.native() as session:
            (key,) = (found for found in objects(session, label) if found.object_class in _PRIVATE_CLASSES)
            for attribute in (
                "LOCAL",
                "SENSITIVE",
                "ALWAYS_SENSITIVE",
                "NEVER_EXTRACTABLE",
                "PRIVATE",
                "TOKEN",
            ):
                assert key[Attribute[attribute]] is True
            assert key[Attribute.EXTRACTABLE] is False
            with pytest.raises(pkcs11.PKCS11Error):
                key[Attribute.VALUE]

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_key_does_one_thing(self, softhsm_token: TestToken, label: str, kind: str) -> None:
        """With both wrap and decrypt, whoever has the PIN could wrap another key and read it."""
        create_key(softhsm_token.url(label), softhsm_token.settings(), kind)
        uses = {"wrap_key", "unwrap_key", "encrypt", "decrypt", "sign", "verify", "derive_key"}
        expected = {
            "aes-256": {"wrap_key", "unwrap_key"},
            "aes-256-gcm": {"encrypt", "decrypt"},
            "rsa-3072": {"encrypt", "decrypt"},
        }.get(kind, {"sign", "verify"})
        with softhsm_token.native() as session:
            able = {use for key in objects(session, label) for use in uses if hasattr(key, use)}
        assert able == expected

    def test_what_a_key_may_do_cannot_be_widened(self, softhsm_token: TestToken, label: str) -> None:
        """Not even by who has the PIN."""
        create_key(softhsm_token.url(label), softhsm_token.settings(), "aes-256")
        with softhsm_token.native() as session:
            (key,) = objects(session, label)
            for attribute in (Attribute.DECRYPT, Attribute.EXTRACTABLE):
                with pytest.raises(pkcs11.PKCS11Error):
                    key[attribute] = True

    @pytest.mark.parametrize("kind", ["aes-256", "p256"])
    def test_a_label_is_given_once(self, softhsm_token: TestToken, label: str, kind: str) -> None:
        """Tokens let labels repeat; a second key under one would make both useless. Any id, any kind."""
        create_key(softhsm_token.url(label), softhsm_token.settings(), "aes-256")
        for again in (softhsm_token.url(label), softhsm_token.url(label) + ";id=%01"):
            with pytest.raises(SecretConflictError, match="label"):
                create_key(again, softhsm_token.settings(), kind)
        with softhsm_token.native() as session:
            assert len(objects(session, label)) == 1

    def test_of_two_that_make_one_label_neither_keeps_it(
        self, softhsm_token: TestToken, label: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A token has no lock between processes: the loser takes its own key away, and says so."""

        def make_twice(session: Any, names: dict[str, Any]) -> Any:
            session.generate_key(KeyType.AES, 256, label=label, id=b"theirs", store=True)
            return create._secret(KeyType.AES, pkcs11.Mechanism.AES_KEY_GEN, 0)(session, names)

        monkeypatch.setitem(create._MAKERS, "aes-256", make_twice)
        with pytest.raises(SecretConflictError, match="at the same time"):
            create_key(softhsm_token.url(label), softhsm_token.settings(), "aes-256")
        with softhsm_token.native() as session:
            assert [key.id for key in objects(session, label)] == [b"theirs"]

    def test_a_token_that_makes_weak_keys_keeps_none(
        self, softhsm_token: TestToken, label: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A key that could be taken out is destroyed again."""
        weak = {**create._PRIVATE, Attribute.EXTRACTABLE: True}
        monkeypatch.setattr(create, "_PRIVATE", weak)
        with pytest.raises(InvalidRequestError, match="taken out"):
            create_key(softhsm_token.url(label), softhsm_token.settings(), "p256")
        with softhsm_token.native() as session:
            assert objects(session, label) == []

    @pytest.mark.parametrize(
        ("attributes", "kind", "reason"), [({}, "aes-128", "kind"), ({"id": "x"}, "aes-256", "label")]
    )
    def test_what_cannot_be_made_is_refused(
        self, softhsm_token: TestToken, attributes: dict[str, str], kind: str, reason: str
    ) -> None:
        """Before the token is asked."""
        with pytest.raises(InvalidRequestError, match=reason):
            create_key(softhsm_token.url(**attributes), softhsm_token.settings(), kind)


class TestFinding:
    """Which key is meant."""

    def test_two_keys_of_one_label_are_nobodys_choice(self, softhsm_token: TestToken, label: str) -> None:
        """The id chooses; without it nothing is wrapped under either."""
        with softhsm_token.native() as session:
            for number in (b"1", b"2"):
                session.generate_key(KeyType.AES, 256, label=label, id=number, store=True)
        with pytest.raises(InvalidRequestError, match="add id="):
            open_key(softhsm_token.url(label), softhsm_token.settings()).wrap(DATA_KEY, CONTEXT)
        one, two = (
            open_key(softhsm_token.url(label, id=number), softhsm_token.settings()) for number in "12"
        )
        wrapped = one.wrap(DATA_KEY, CONTEXT)
        assert one.unwrap(wrapped, CONTEXT) == DATA_KEY
        assert not two.matches(wrapped)
        with pytest.raises(IntegrityError):
            two.unwrap(wrapped, CONTEXT)

    def test_a_missing_key_comes_with_what_to_do(self, softhsm_token: TestToken, label: str) -> None:
        """And is not made on the way."""
        for opened in (open_key, open_signer):
            key: Any = opened(softhsm_token.url(label), softhsm_token.settings())
            with pytest.raises(InvalidRequestError, match="strongroom key create"):
                key.sign(b"m") if opened is open_signer else key.wrap(DATA_KEY, CONTEXT)

    def test_a_key_made_anew_is_found_anew(self, softhsm_token: TestToken, label: str) -> None:
        """A handle kept from before would be another key's, or nobody's."""
        url = create_key(softhsm_token.url(label), softhsm_token.settings(), "p256")
        signer = open_signer(url, softhsm_token.settings(clock=FakeClock()))
        assert signer.sign(b"m")
        with softhsm_token.native() as session:
            for key in objects(session, label):
                key.destroy()
        with pytest.raises((InvalidRequestError, UnavailableError)):
            signer.sign(b"m")
        create_key(url, softhsm_token.settings(), "p256")
        fresh = open_signer(url, softhsm_token.settings())
        public = load_der_public_key(fresh.public_key() or b"")
        assert isinstance(public, ec.EllipticCurvePublicKey)
        public.verify(signer.sign(b"m"), b"m", ec.ECDSA(hashes.SHA256()))

    @pytest.mark.parametrize(
        ("kind", "mechanism"), [("aes-256", "aes-gcm"), ("aes-256-gcm", "aes-key-wrap-pad")]
    )
    def test_a_key_of_another_kind_is_refused(
        self, softhsm_token: TestToken, label: str, kind: str, mechanism: str
    ) -> None:
        """With the kind to make; nothing that python-pkcs11 lacks gets through."""
        settings = softhsm_token.settings(options={"mechanism": mechanism})
        key = open_key(create_key(softhsm_token.url(label), settings, kind), settings)
        with pytest.raises(InvalidRequestError, match="does not let this key"):
            key.wrap(DATA_KEY, CONTEXT)

    @pytest.mark.parametrize("options", [{"mechanism": "rot13"}, {"mechanism": 7}])
    def test_an_unknown_mechanism_is_refused(self, softhsm_token: TestToken, options: dict[str, Any]) -> None:
        """At opening, with those there are."""
        with pytest.raises(InvalidRequestError, match="aes-key-wrap-pad"):
            open_key(softhsm_token.url("kek"), softhsm_token.settings(options=options))

    def test_a_url_without_a_key_is_refused(self, softhsm_token: TestToken) -> None:
        """A token alone is no KEK."""
        with pytest.raises(InvalidRequestError, match="names no key"):
            open_key(softhsm_token.url(), softhsm_token.settings())


class TestOtherPrograms:
    """Wrapped keys are what the standards say: another program that has the KEK opens them."""

    def test_key_wrap_is_rfc_5649(self, softhsm_token: TestToken, label: str) -> None:
        """On SoftHSM; `cryptography` opens ours, and we open its."""
        kek = os.urandom(32)
        url = imported(softhsm_token, label, kek, MechanismFlag.WRAP | MechanismFlag.UNWRAP)
        key = open_key(url, softhsm_token.settings())
        ours = key.wrap(DATA_KEY, CONTEXT)
        assert aes_key_unwrap_with_padding(kek, ours.ciphertext) == bind(DATA_KEY, CONTEXT)
        theirs = aes_key_wrap_with_padding(kek, bind(DATA_KEY, CONTEXT))
        assert key.unwrap(ours._replace(ciphertext=theirs), CONTEXT) == DATA_KEY

    def test_gcm_is_iv_ciphertext_and_tag(self, softhsm_token: TestToken, label: str) -> None:
        """With the encoded context as additional data."""
        kek = os.urandom(32)
        url = imported(softhsm_token, label, kek, MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT)
        key = open_key(url, softhsm_token.settings(options={"mechanism": "aes-gcm"}))
        ours, aad = key.wrap(DATA_KEY, CONTEXT), encode_context(CONTEXT)
        assert AESGCM(kek).decrypt(ours.ciphertext[:12], ours.ciphertext[12:], aad) == DATA_KEY
        theirs = bytes(12) + AESGCM(kek).encrypt(bytes(12), DATA_KEY, aad)
        assert key.unwrap(ours._replace(ciphertext=theirs), CONTEXT) == DATA_KEY

    def test_a_shorter_key_that_somebody_wrapped_is_no_data_key(
        self, softhsm_token: TestToken, label: str
    ) -> None:
        """SoftHSM pads 37 bytes with zeros and does not take them off; only our own 64 are unwrapped."""
        kek = os.urandom(32)
        url = imported(softhsm_token, label, kek, MechanismFlag.WRAP | MechanismFlag.UNWRAP)
        key = open_key(url, softhsm_token.settings())
        ours = key.wrap(DATA_KEY, CONTEXT)
        for length in (16, 32, 37, 61, 63, 65, 72):
            theirs = aes_key_wrap_with_padding(kek, bind(DATA_KEY, CONTEXT).ljust(72)[:length])
            with pytest.raises(IntegrityError):
                key.unwrap(ours._replace(ciphertext=theirs), CONTEXT)

    def test_a_digest_is_signed_as_a_chain_wants_it(self, softhsm_token: TestToken, label: str) -> None:
        """A Keccak digest of a transaction: r || s with the low s, which `cryptography` verifies as it is."""
        url = create_key(softhsm_token.url(label), softhsm_token.settings(), "secp256k1")
        signer = open_signer(url, softhsm_token.settings())
        public = load_der_public_key(signer.public_key() or b"")
        assert isinstance(public, ec.EllipticCurvePublicKey)
        digest = hashlib.sha3_256(b"transaction").digest()
        der = signer.sign_digest(digest)
        public.verify(der, digest, ec.ECDSA(Prehashed(hashes.SHA256())))
        assert len(raw_signature(der)) == 64
        with pytest.raises(InvalidSignature):
            public.verify(der, digest[::-1], ec.ECDSA(Prehashed(hashes.SHA256())))

    def test_an_imported_hmac_key_signs_requests(self, softhsm_token: TestToken, label: str) -> None:
        """As an exchange verifies them: HMAC-SHA256 with the API secret that it issued."""
        with softhsm_token.native() as session:
            session.create_object(
                {
                    Attribute.CLASS: ObjectClass.SECRET_KEY,
                    Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
                    Attribute.LABEL: label,
                    Attribute.VALUE: DATA_KEY,
                    Attribute.TOKEN: True,
                    Attribute.SIGN: True,
                }
            )
        signer = open_signer(softhsm_token.url(label), softhsm_token.settings())
        assert signer.sign(b"symbol=BTC") == hmac.digest(DATA_KEY, b"symbol=BTC", "sha256")
        assert signer.algorithm == "HS256"


class TestSafety:
    """What a token could do to us."""

    def test_a_broken_token_is_not_taken_for_a_forgery(
        self, softhsm_token: TestToken, label: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """SoftHSM answers CKR_GENERAL_ERROR to a forged message; a token that fails at everything is down."""
        url = create_key(softhsm_token.url(label), softhsm_token.settings(), "aes-256")
        key = open_key(url, softhsm_token.settings(clock=FakeClock()))
        wrapped = key.wrap(DATA_KEY, CONTEXT)

        def fail(*_: object, **__: object) -> bytes:
            raise pkcs11.GeneralError

        monkeypatch.setattr(KeyWrapPad, "open", fail)
        monkeypatch.setattr(KeyWrapPad, "seal", fail)
        with pytest.raises(UnavailableError):
            key.unwrap(wrapped, CONTEXT)

    def test_a_token_that_ignores_the_iv_wraps_nothing(
        self, softhsm_token: TestToken, label: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In FIPS mode some make their own and cannot tell it; what they wrapped would never open again."""
        settings = softhsm_token.settings(options={"mechanism": "aes-gcm"})
        key = open_key(create_key(softhsm_token.url(label), settings, "aes-256-gcm"), settings)
        assert key.wrap(DATA_KEY, CONTEXT)
        monkeypatch.setattr("strongroom_pkcs11.wrapping._gcm", _with_its_own_iv)
        with pytest.raises(InvalidRequestError, match="IV"):
            key.wrap(DATA_KEY, CONTEXT)

    def test_every_gcm_wrap_has_its_own_iv(self, softhsm_token: TestToken, label: str) -> None:
        """96 random bits each."""
        settings = softhsm_token.settings(options={"mechanism": "aes-gcm"})
        key = open_key(create_key(softhsm_token.url(label), settings, "aes-256-gcm"), settings)
        ivs = {key.wrap(DATA_KEY, CONTEXT).ciphertext[:12] for _ in range(100)}
        assert len(ivs) == 100

    def test_no_data_key_is_left_in_the_token(self, softhsm_token: TestToken, label: str) -> None:
        """What carries a data key through the token is destroyed, also when the message was forged."""
        url = create_key(softhsm_token.url(label), softhsm_token.settings(), "aes-256")
        key = open_key(url, softhsm_token.settings())
        wrapped = key.wrap(DATA_KEY, CONTEXT)
        forged = wrapped._replace(ciphertext=wrapped.ciphertext[:-1] + b"\0")
        with pytest.raises(IntegrityError):
            key.unwrap(forged, CONTEXT)
        assert key.unwrap(wrapped, CONTEXT) == DATA_KEY
        with softhsm_token.native() as session:
            assert list(session.get_objects({Attribute.TOKEN: False})) == []

    def test_a_stated_algorithm_is_checked(self, softhsm_token: TestToken, label: str) -> None:
        """Else a swapped key would sign with another curve unnoticed."""
        settings = softhsm_token.settings()
        url = create_key(softhsm_token.url(label), settings, "p256")
        stated = replace(settings, options={**settings.options, "algorithm": "ES256K"})
        with pytest.raises(InvalidRequestError, match="ES256, not ES256K"):
            open_signer(url, stated).sign(b"m")
        with pytest.raises(InvalidRequestError, match="unknown algorithm"):
            open_signer(url, replace(settings, options={**settings.options, "algorithm": "none"}))


def _with_its_own_iv(iv: bytes, aad: bytes) -> pkcs11.GCMParams:
    return pkcs11.GCMParams(nonce=os.urandom(12), aad=aad, tag_bits=128)
