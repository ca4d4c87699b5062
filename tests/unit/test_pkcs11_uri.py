"""PKCS#11 URIs: RFC 7512's path attributes, and nothing that a URL must not say."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import InvalidRequestError
from strongroom.names import StoreURL
from strongroom_pkcs11.uri import TYPES, TokenURI
from tests.canary import CANARY, assert_no_canary
from tests.scale import scaled


def parse(text: str) -> TokenURI:
    return TokenURI.parse(StoreURL.parse(text))


def test_every_attribute_is_read() -> None:
    """Percent-decoded; an id is bytes."""
    uri = parse(
        "pkcs11:token=The%20Software%20Token;manufacturer=Snake%20Oil;serial=00a1;model=1.0"
        ";object=my-certificate;type=private;id=%69%95%3E%00%F4"
    )
    assert uri == TokenURI(
        token="The Software Token",
        manufacturer="Snake Oil",
        serial="00a1",
        model="1.0",
        object="my-certificate",
        type="private",
        id=b"\x69\x95\x3e\x00\xf4",
    )


def test_the_characters_of_the_rfc_need_no_encoding() -> None:
    """RFC 7512's pk11-pchar, and the slash of a prefix."""
    assert parse("pkcs11:token=a:[]@!$'()*+,=&-._~;object=prod/eu").token == "a:[]@!$'()*+,=&-._~"
    assert parse("pkcs11:token=t;object=prod/eu") == parse("pkcs11:object=prod%2Feu;token=t")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("pkcs11:", "names its token"),
        ("pkcs11:object=kek", "names its token"),
        ("pkcs11:token=a;token=b", "twice"),
        ("pkcs11:token", "joined by"),
        ("pkcs11:token=", "joined by"),
        ("pkcs11:token=a;", "unknown attribute"),
        ("pkcs11:token=a b", "joined by"),
        ("pkcs11:token=a%2", "joined by"),
        ("pkcs11:token=a%zz", "joined by"),
        ("pkcs11:token=a%FF", "UTF-8"),
        ("pkcs11:token=a%00b", "UTF-8"),
        ("pkcs11:token=a%0Ab", "UTF-8"),
        ("pkcs11:token=" + "x" * 33, "32 bytes"),
        ("pkcs11:token=a;type=secret", "unknown type"),
        ("pkcs11:Token=a", "unknown attribute"),
        ("pkcs11:token=a;x-vendor=1", "unknown attribute"),
        ("pkcs11:token=a;slot-id=0", "renumbered"),
        ("pkcs11:token=a;slot-description=x", "renumbered"),
        ("pkcs11:token=a;library-manufacturer=x", "unknown attribute"),
        ("pkcs11://token=a", "no host"),
        ("pkcs11:token=a?max-sessions=1", "unknown attribute"),
    ],
)
def test_what_the_rfc_or_this_reader_does_not_know_is_refused(url: str, reason: str) -> None:
    """Before any module is loaded."""
    with pytest.raises(InvalidRequestError, match=reason):
        parse(url)


@pytest.mark.parametrize("name", ["module-path", "module-name", "pin-value", "pin-source"])
@pytest.mark.parametrize("place", ["pkcs11:token=a?{}={}", "pkcs11:token=a;{}={}"])
def test_module_and_pin_come_from_the_configuration_alone(name: str, place: str) -> None:
    """Whoever sets a URL could have his own library loaded; a PIN in a URL lands in logs. None is quoted."""
    with pytest.raises(InvalidRequestError, match=r"strongroom\.toml") as caught:
        parse(place.format(name, CANARY))
    assert_no_canary(str(caught.value))


_LABELS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1)
_TEXTS = st.none() | _LABELS
_URIS = st.builds(
    TokenURI,
    token=_LABELS.filter(lambda text: len(text.encode()) <= 32),
    manufacturer=_TEXTS,
    serial=_TEXTS,
    model=_TEXTS,
    object=_TEXTS,
    id=st.none() | st.binary(min_size=1),
    type=st.none() | st.sampled_from(TYPES),
)


@settings(max_examples=scaled(10_000, "PKCS#11 URIs read back", 40))
@given(_URIS)
def test_what_is_written_reads_back(uri: TokenURI) -> None:
    """Injective and reversible, whatever stands in labels and ids."""
    assert parse(str(uri)) == uri


@given(_URIS, _URIS)
def test_a_key_id_names_one_key(one: TokenURI, two: TokenURI) -> None:
    """Equal only if token, object and id are; however the token was found."""
    same = (one.token, one.object, one.id) == (two.token, two.object, two.id)
    assert (one.key_id == two.key_id) is same


def test_a_key_id_outlives_how_the_token_is_narrowed_down() -> None:
    """Adding a serial number or type later does not orphan what was wrapped before."""
    short, long = "pkcs11:token=a;object=kek", "pkcs11:object=kek;serial=7;token=a;model=m;type=secret-key"
    assert parse(short).key_id == parse(long).key_id == short
    assert parse("pkcs11:serial=7;object=kek").key_id == "pkcs11:serial=7;object=kek"


@dataclass
class _Facts:
    label: str = "prod"
    manufacturer_id: str = "SoftHSM project"
    serial: bytes = b"d0546d098fc600a8"
    model: str = "SoftHSM v2"


@pytest.mark.parametrize(
    ("url", "picked"),
    [
        ("pkcs11:token=prod", True),
        ("pkcs11:token=Prod", False),
        ("pkcs11:token=pro", False),
        ("pkcs11:serial=d0546d098fc600a8", True),
        ("pkcs11:token=prod;serial=d0546d098fc600a9", False),
        ("pkcs11:token=prod;manufacturer=SoftHSM%20project;model=SoftHSM%20v2", True),
        ("pkcs11:token=prod;model=other", False),
    ],
)
def test_a_token_is_picked_by_all_that_is_asked(url: str, picked: bool) -> None:
    """Label, serial number, manufacturer and model; never by slot."""
    assert parse(url).picks(_Facts()) is picked
