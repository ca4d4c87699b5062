"""Names that fit everywhere and never climb, the keys made of them, and URLs that hold no credential."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from strongroom.errors import InvalidRequestError
from strongroom.names import (
    NAME_UNITS,
    RESERVED_ROOT,
    Companion,
    Key,
    Name,
    NameMode,
    Reserved,
    StoreURL,
    check_beginning,
    check_prefix,
    is_loopback,
    key_name,
    key_path,
    path_key,
    suggest_name,
)
from tests.canary import CANARY, assert_no_canary
from tests.scale import scaled
from tests.unit.portable_names import KEYS, PREFIXES, texts, units

MANY = settings(max_examples=scaled(10_000, "names, legal and illegal", 40))
# Written from DESIGN section 4, not from the product.
GRAMMAR = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+([._-][a-z0-9]+)*)*")


def legal(text: str, limit: int = NAME_UNITS) -> bool:
    return bool(GRAMMAR.fullmatch(text)) and units(text) <= limit


@MANY
@given(texts())
def test_every_name_of_the_grammar_is_taken_as_it_is(text: str) -> None:
    """What the grammar allows and 80 units hold is a name, unchanged."""
    assert str(Name.parse(text)) == text
    assert Name.parse(text, "native").text == text  # every provider's own rules include the portable ones


@MANY
@given(st.text("ab0/._- A\\\n%:é", max_size=20) | st.text(max_size=20))
def test_every_other_text_is_refused(text: str) -> None:
    """There is no third kind: exactly the grammar is legal, and nothing is ever repaired in silence."""
    if legal(text):
        assert Name.parse(text).text == text
    else:
        with pytest.raises(InvalidRequestError):
            Name.parse(text)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("a" * 80, True),
        ("a" * 81, False),
        ("/".join(["ab"] * 20), True),  # 40 + 19 * 2
        ("/".join(["ab"] * 20) + "/a", False),  # 78 + 3
        (".".join(["a"] * 20), True),  # 20 + 19 * 3 = 77
        (".".join(["a"] * 21), False),  # 81
        ("_".join(["a"] * 16), True),  # 16 + 15 * 4 = 76
        ("_".join(["a"] * 17), False),  # 81
        ("-".join(["a"] * 40), True),  # 79
    ],
)
def test_a_name_takes_at_most_80_units(text: str, fits: bool) -> None:
    """Azure spells `/` with 2 dashes, `.` with 3 and `_` with 4: names beyond 80 units would fit some
    providers only, and the store could not move."""
    if fits:
        Name.parse(text)
    else:
        with pytest.raises(InvalidRequestError, match="units"):
            Name.parse(text)


CLIMBS = [
    *(".", "..", "../x", "x/..", "x/../y", "./x", "x/./y", "", "/", "/x", "x/", "x//y", "..\\x", "x\\..\\y"),
    *(" ..", ".. /x", "\u2025/x", "\uff0e\uff0e/x", "\u2024\u2024/x", "x/\uff0f../y", "\uff3c..", "a\uff0fb"),
    *("%2e%2e/x", "%2E%2e/x", ".%2e/x", "x%2fy", "x%5Cy", "%252e%252e/x", "x\x00y", "x\ny", "x\r", "\x1b[2J"),
    *("x\x7f", "x\x85y", "x\u2028y", "x\ud800", "x\t"),
    *("arn:aws:secretsmanager:eu-west-1:1:secret:db", "ARN:aws:s3:::b", " arn:aws:s3:::b"),
    *("Projects/p", " projects/p", "https://v/secrets/x", "HTTP://v/x"),
    *(RESERVED_ROOT, f"{RESERVED_ROOT}/pending/db", f"{RESERVED_ROOT.upper()}/pending/db"),
    *(f" {RESERVED_ROOT}/lease/x", f"{RESERVED_ROOT} /lease/x", "x" * 1025),
]


@pytest.mark.parametrize("mode", ["portable", "native"])
@pytest.mark.parametrize("text", CLIMBS, ids=range(len(CLIMBS)))
def test_no_name_climbs_out_of_its_urls_prefix(text: str, mode: NameMode) -> None:
    """Whoever may name secrets under prod/app must not reach prod/other, another account, or a pending value.

    Also where something on the way decodes percent signs, folds look-alike characters or case.
    """
    with pytest.raises(InvalidRequestError) as caught:
        Name.parse(text, mode)
    assert "\n" not in str(caught.value)


def test_a_native_name_is_no_resource_path() -> None:
    """As a portable name it is encoded like any other; as a provider's own it would name another project."""
    assert Name.parse("projects/p/secrets/s").text == "projects/p/secrets/s"
    with pytest.raises(InvalidRequestError, match="resource path"):
        Name.parse("projects/p/secrets/s", "native")


@pytest.mark.parametrize("text", [text for text in CLIMBS if text], ids=range(len(CLIMBS) - 1))
def test_no_prefix_and_no_listing_climbs_either(text: str) -> None:
    """A prefix comes from a URL, and what a listing begins with from a caller."""
    modes: tuple[NameMode, ...] = ("portable", "native")
    for mode in modes:
        with pytest.raises(InvalidRequestError):
            check_prefix(text, mode)
        if text != "x/":  # a listing may end where a segment does
            with pytest.raises(InvalidRequestError):
                check_beginning(text, mode)


@pytest.mark.parametrize("text", ["My Secret", "DB_PASSWORD", "émile", "a.b..c", "MyApp/DB", "x%20y", "_x"])
def test_native_names_are_the_providers_own(text: str) -> None:
    """What portable names exclude is still reachable, by a store that says `names = "native"`."""
    assert Name.parse(text, "native").text == text
    with pytest.raises(InvalidRequestError):
        Name.parse(text)


@pytest.mark.parametrize("bad", [None, 7, b"db/x", ["db"], Name("db")])
def test_a_name_is_text(bad: object) -> None:
    """Anything else is the caller's fault, and no TypeError from within."""
    with pytest.raises(InvalidRequestError, match="str"):
        Name.parse(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("BINANCE_API_KEY", "binance/api-key"),
        ("DATABASE_URL", "database/url"),
        ("Db/Password", "db/password"),
        ("db password", "db-password"),
        ("db//password", "db/password"),
        ("/db/password/", "db/password"),
        ("../../etc/passwd", "etc/passwd"),
        ("db\\password", "db-password"),
        ("db_password", "db-password"),
        ("---", None),
        ("", None),
        ("a" * 200, None),
    ],
)
def test_an_error_suggests_the_nearest_legal_name(text: str, near: str | None) -> None:
    """A person who comes from environment variables sees at once what to write."""
    assert suggest_name(text) == near


@given(st.text(max_size=60))
def test_a_suggestion_is_always_a_legal_name(text: str) -> None:
    """A hint that does not work would be worse than none."""
    near = suggest_name(text)
    assert near is None or legal(near)


def test_the_hint_stands_in_the_error() -> None:
    """Through `Name.parse`, as users meet it."""
    with pytest.raises(InvalidRequestError, match="use 'binance/api-key'"):
        Name.parse("BINANCE_API_KEY")


@given(KEYS, PREFIXES)
def test_a_path_leads_back_to_its_key(key: Key, prefix: str) -> None:
    """`path_key` undoes `key_path`, for every kind of key and every prefix."""
    assert path_key(key_path(key, prefix), prefix) == key


@given(KEYS, KEYS, PREFIXES)
def test_two_keys_never_share_a_path(one: Key, other: Key, prefix: str) -> None:
    """Injective: else one secret would overwrite another, or a pending value."""
    assume(one != other)
    assert key_path(one, prefix) != key_path(other, prefix)
    assert str(one) != str(other)  # what an encrypted message is bound to


@given(KEYS, PREFIXES, PREFIXES)
def test_a_path_is_read_back_under_its_own_prefix_only(key: Key, prefix: str, other: str) -> None:
    """Two stores over one engine, `app` and `app2` or `app/x`, do not take each other's names for theirs."""
    path = key_path(key, prefix)
    read = path_key(path, other)
    assert read is None or key_path(read, other) == path


@given(texts(), PREFIXES)
def test_no_name_reaches_the_reserved_name_space_and_no_prefix_covers_it(text: str, prefix: str) -> None:
    """A grant on the prefix never reaches a companion ▲: the companion stands before the prefix."""
    name = Name.parse(text)
    assert not key_path(name, prefix).startswith(f"{RESERVED_ROOT}/")
    for key in (Companion(name), Reserved("lease", name)):
        assert key_path(key, prefix).startswith(f"{RESERVED_ROOT}/")
        assert key_name(key) == name
    assert not prefix.startswith(RESERVED_ROOT)


@given(st.text(max_size=30))
def test_a_native_name_never_reaches_the_reserved_name_space(text: str) -> None:
    """Not even where a provider ignores case, or white space around names."""
    for candidate in (text, f"{RESERVED_ROOT}/{text}", f"{RESERVED_ROOT.title()}/{text}"):
        try:
            name = Name.parse(candidate, "native")
        except InvalidRequestError:
            continue
        assert key_path(name).split("/")[0].strip().lower() != RESERVED_ROOT
        assert path_key(key_path(name), "", "native") == name


@pytest.mark.parametrize(
    "kind", ["pending", "", "a/b", "..", "Lease", "lease ", "lease\n", "-", "x_y", "%2e"]
)
def test_a_kind_that_could_be_mistaken_is_refused(kind: str) -> None:
    """Reserved("pending", n) stood where Companion(n) stands: a lease could have become a pending value."""
    with pytest.raises(InvalidRequestError):
        Reserved(kind, Name("db"))


@pytest.mark.parametrize(
    "path",
    [
        *(RESERVED_ROOT, f"{RESERVED_ROOT}/", f"{RESERVED_ROOT}/pending", f"{RESERVED_ROOT}/pending/"),
        *(
            f"{RESERVED_ROOT}//x",
            f"{RESERVED_ROOT}/Weird/x",
            f"{RESERVED_ROOT}/pending/../x",
            "UPPER",
            "a//b",
        ),
        *("", "/", "a/", "../a", "app2/x", "app", "app/", "appx"),
    ],
)
def test_what_others_keep_there_is_not_ours_to_show(path: str) -> None:
    """A listing meets foreign names and passes over them, without an error."""
    assert path_key(path, "app") is None
    if path.startswith(RESERVED_ROOT):
        assert path_key(path) is None


CREDENTIALS = [
    f"vault://user:{CANARY}@vault.example.net:8200/secret",
    f"vault://{CANARY}@vault.example.net/secret",
    f"aws-sm://AKIA:{CANARY}@eu-west-1/prod",
    f"vault://user:{CANARY}%40vault.example.net/secret",
]


@pytest.mark.parametrize("url", CREDENTIALS, ids=range(len(CREDENTIALS)))
def test_a_url_with_a_credential_is_refused_without_being_repeated(url: str) -> None:
    """URLs stand in logs, process lists and tickets ▲."""
    with pytest.raises(InvalidRequestError) as caught:
        StoreURL.parse(url)
    assert_no_canary(str(caught.value), repr(vars(caught.value)))


MALFORMED = [
    *("", "prod", "/etc/x", "://x", "Vault://h", "1x://h", "vault//h", "vault://h/x#fragment", "local:#x"),
    *("vault://h\\evil.com/x", "vault://h evil/x", "vault://h/x\n", "vault://h/\x00", "vault://h%2eevil/x"),
    *("vault://h?a", "vault://h?=1", "vault://h?a=1&a=2", "vault://h?a=1&&b=2", "vault://h?a=1&b"),
    *("aws-sm://r?endpoint=http://127.0.0.1:1&endpoint=http://evil.example",),
]


@pytest.mark.parametrize("url", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_url_is_refused(url: str) -> None:
    """Also a fragment, and an option given twice: two readers could each take another one."""
    with pytest.raises(InvalidRequestError):
        StoreURL.parse(url)


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    """A typo in an option must not silently mean the default."""
    with pytest.raises(InvalidRequestError, match="endpoint, kv") as caught:
        StoreURL.parse("vault://h/secret?endpont=x").allow("endpoint", "kv")
    assert "'endpont'" in str(caught.value)
    with pytest.raises(InvalidRequestError, match="none"):
        StoreURL.parse("memory://?x=1").allow()


def test_a_url_is_split_and_never_decoded() -> None:
    """`%2e%2e` stays as it is: a path that is decoded could climb."""
    url = StoreURL.parse("vault://vault.example.net:8200/secret/%2e%2e?kv=1&namespace=a%2Fb")
    assert (url.scheme, url.host, url.path) == ("vault", "vault.example.net:8200", "secret/%2e%2e")
    assert url.option("kv") == "1"
    assert url.option("namespace") == "a/b"
    assert url.option("other") is None
    local = StoreURL.parse("local:///var/lib/app.db?create=keyset")
    assert (local.host, local.path) == ("", "/var/lib/app.db")
    assert str(local) == local.text


LOOPBACK = ["http://127.0.0.1", "http://127.0.0.1:5000", "https://127.1.2.3:8200/", "http://[::1]:8200"]
NOT_LOOPBACK = [
    *("http://localhost:5000", "http://localhost.", "http://127.0.0.1.evil.com", "http://127.0.0.1.:80"),
    *("http://0x7f.1", "http://0x7f000001", "http://2130706433", "http://127.1", "http://0177.0.0.1"),
    *(
        "http://127.000.000.001",
        "http://0.0.0.0",
        "http://[::]",
        "http://[::ffff:127.0.0.1]",
        "http://[::1%25x]",
    ),
    *(
        "http://127.0.0.1@evil.com",
        "http://127.0.0.1:80@evil.com",
        "http://evil.com@127.0.0.1",
        "http://@127.0.0.1",
    ),
    *(
        "http://127.0.0.1\\@evil.com",
        "http://evil.com\\@127.0.0.1",
        "http:\\\\127.0.0.1",
        "http://127.0.0.1\\.evil.com",
    ),
    *("http://evil.com#@127.0.0.1", "http://127.0.0.1#.evil.com", "http://127.0.0.1?.evil.com"),
    *(
        "http://127.0.0.1\n.evil.com",
        "http://127.0.0.1\t",
        " http://127.0.0.1",
        "http://127.0.0.1 ",
        "\x00http://127.0.0.1",
    ),
    *(
        "http://127.0.0.1%2eevil.com",
        "http://127.0.0.1%00.evil.com",
        "http://127\u30020\u30020\u30021",
        "http://\uff11\uff12\uff17.0.0.1",
    ),
    *(
        "ftp://127.0.0.1",
        "unix:///127.0.0.1",
        "//127.0.0.1",
        "127.0.0.1",
        "http:127.0.0.1",
        "http:///127.0.0.1",
    ),
    *(
        "http://127.0.0.1:99999",
        "http://127.0.0.1:x",
        "http://[::1",
        "http://",
        "",
        "http://evil.com/127.0.0.1",
    ),
]


@pytest.mark.parametrize("endpoint", LOOPBACK)
def test_a_url_may_name_a_literal_loopback_endpoint(endpoint: str) -> None:
    """127.0.0.0/8 and ::1, as they stand."""
    assert is_loopback(endpoint)
    assert StoreURL.parse(f"vault:///secret?endpoint={endpoint}").endpoint == endpoint


@pytest.mark.parametrize("endpoint", NOT_LOOPBACK, ids=range(len(NOT_LOOPBACK)))
def test_a_url_may_name_no_other_endpoint(endpoint: str) -> None:
    """Ambient credentials would go to whoever wrote the URL ▲.

    A host name may resolve anywhere; other spellings of an address, userinfo and backslashes are read
    differently by different parsers, so that what was checked is not what is called.
    """
    from urllib.parse import quote

    assert not is_loopback(endpoint)
    url = StoreURL.parse(f"aws-sm://eu-west-1/prod?endpoint={quote(endpoint)}")
    with pytest.raises(InvalidRequestError, match="loopback"):
        _ = url.endpoint


def test_a_url_without_an_endpoint_has_none() -> None:
    """Then configuration, or the provider's own host, decides."""
    assert StoreURL.parse("aws-sm://eu-west-1/prod").endpoint is None
