"""Why a message is immutable: two headers under one message id give away its authentication key.

The header tag is AES-GCM under IV 0 of the message key. Joux's attack ("Authentication Failures in NIST
version of GCM", 2006): the difference of two such tags is a polynomial in the hash key H with known
coefficients, so its roots are found, and with H every frame of the message can be rewritten. The first tests
carry the attack out; the last ones hold the product to the rule that prevents it.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import strongroom
from strongroom.envelope.cipher import decrypt, encrypt
from strongroom.envelope.message import decode_body, decode_header, encode_header
from strongroom.errors import IntegrityError
from tests.unit.envelope_support import derive, local_key

Poly = list[int]  # coefficients in GF(2^128), lowest degree first

_R = 0xE1 << 120  # GCM's reduction, in its reflected order of bits (SP 800-38D, section 6.3)
_ONE = 1 << 127


def _mul(x: int, y: int) -> int:
    product = 0
    while y:
        if y & _ONE:
            product ^= x
        y = (y << 1) & (2 * _ONE - 1)
        x = (x >> 1) ^ (_R if x & 1 else 0)
    return product


def _inverse(x: int) -> int:
    power, result = x, _ONE
    for _ in range(127):  # x^(2^128 - 2)
        power = _mul(power, power)
        result = _mul(result, power)
    return result


def _trim(poly: Poly) -> Poly:
    while poly and not poly[-1]:
        poly = poly[:-1]
    return poly


def _monic(poly: Poly) -> Poly:
    scale = _inverse(poly[-1])
    return [_mul(coefficient, scale) for coefficient in poly]


def _mod(poly: Poly, modulus: Poly) -> Poly:
    """The remainder by a monic polynomial."""
    rest = _trim(poly)
    while len(rest) >= len(modulus):
        lead, shift = rest[-1], len(rest) - len(modulus)
        rest = _trim([c ^ (_mul(lead, modulus[i - shift]) if i >= shift else 0) for i, c in enumerate(rest)])
    return rest


def _square(poly: Poly, modulus: Poly) -> Poly:
    spread = [value for coefficient in poly for value in (_mul(coefficient, coefficient), 0)]
    return _mod(spread, modulus)


def _add(one: Poly, other: Poly) -> Poly:
    size = max(len(one), len(other))
    padded = ([*poly, *[0] * (size - len(poly))] for poly in (one, other))
    return _trim([a ^ b for a, b in zip(*padded, strict=True)])


def _gcd(one: Poly, other: Poly) -> Poly:
    while other:
        one, other = other, _mod(one, _monic(other))
    return _monic(one)


def _roots(poly: Poly) -> list[int]:
    """All roots in GF(2^128): the part that splits, then Berlekamp's trace algorithm."""
    modulus, power = _monic(_trim(poly)), [0, _ONE]
    for _ in range(128):
        power = _square(power, modulus)
    return _split(_gcd(modulus, _add(power, [0, _ONE])), 1)


def _split(poly: Poly, beta: int) -> list[int]:
    if len(poly) <= 2:
        return [poly[0]] if len(poly) == 2 else []
    term = _mod([0, beta], poly)
    trace = term
    for _ in range(127):
        term = _square(term, poly)
        trace = _add(trace, term)
    factor = _gcd(poly, trace) if trace else poly
    if not 1 < len(factor) < len(poly):
        return _split(poly, beta << 1)
    other = _gcd(poly, _add(trace, [_ONE]))
    return _split(factor, beta << 1) + _split(other, beta << 1)


def _blocks(additional_data: bytes, ciphertext: bytes = b"") -> list[int]:
    """What GHASH takes in, block by block."""
    data = b"".join(part + bytes(-len(part) % 16) for part in (additional_data, ciphertext))
    data += (len(additional_data) * 8).to_bytes(8, "big") + (len(ciphertext) * 8).to_bytes(8, "big")
    return [int.from_bytes(data[at : at + 16], "big") for at in range(0, len(data), 16)]


def _ghash(h: int, blocks: list[int]) -> int:
    state = 0
    for block in blocks:
        state = _mul(state ^ block, h)
    return state


def _tag(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


def _difference(one: bytes, one_tag: bytes, other: bytes, other_tag: bytes) -> Poly:
    """The polynomial whose roots hold H: both tags hide GHASH behind the same E(K, IV 0)."""
    blocks = [list(reversed(_blocks(header))) for header in (one, other)]
    return _add(_add([0, *blocks[0]], [0, *blocks[1]]), [_tag(one_tag) ^ _tag(other_tag)])


def _naive_rewrap(message: bytes) -> tuple[bytes, bytes, bytes]:
    """What the product must never do: the same message id and body under a header for another KEK."""
    old, new = local_key(), local_key(bytes(32), "local-2")
    header, length = decode_header(message)
    data_key = old.unwrap(header.wrapped_keys[0], header.context)
    body = encode_header(header._replace(wrapped_keys=(new.wrap(data_key, header.context),)))
    tag = AESGCM(derive(data_key, header.message_id)[0]).encrypt(bytes(12), b"", body)
    return body, tag, message[length + 16 :]


def _rewrite(message: bytes, length: int, h: int, known: bytes, wanted: bytes) -> bytes:
    """Change the only frame of `message` from `known` to `wanted`, with H and without any key."""
    header, _ = decode_header(message)
    (frame,) = decode_body(message, length + 16, header)
    ciphertext, tag = bytes(frame.sealed[:-16]), _tag(bytes(frame.sealed[-16:]))
    mask = tag ^ _ghash(h, _blocks(frame.head.additional_data, ciphertext))
    forged = bytes(c ^ k ^ w for c, k, w in zip(ciphertext, known, wanted, strict=True))
    forged_tag = mask ^ _ghash(h, _blocks(frame.head.additional_data, forged))
    return message[: -len(frame.sealed)] + forged + forged_tag.to_bytes(16, "big")


def _opens_to(message: bytes) -> bytes | None:
    try:
        return decrypt(message, keys=[local_key()], context={}).value
    except IntegrityError:
        return None


def test_the_field_arithmetic_is_gcms() -> None:
    """The control: GHASH as computed here agrees with a real tag."""
    key = bytes(range(32))
    tags = [AESGCM(key).encrypt(bytes(12), b"", data) for data in (b"one", b"another")]
    (h,) = (
        root
        for root in _roots(_difference(b"one", tags[0], b"another", tags[1]))
        if _ghash(root, _blocks(b"third")) ^ _ghash(root, _blocks(b"one")) ^ _tag(tags[0])
        == _tag(AESGCM(key).encrypt(bytes(12), b"", b"third"))
    )
    assert _mul(h, _inverse(h)) == _ONE


def test_two_headers_under_one_message_id_let_a_forger_rewrite_the_value() -> None:
    """The attack works: from two headers and no key, a message that decrypts to the forger's value."""
    known, wanted = b"pay=100;to=alice", b"pay=999;to=mallo"
    message = encrypt(known, keys=[local_key()], context={})
    _, length = decode_header(message)
    body, tag, frames = _naive_rewrap(message)
    rewrapped = body + tag + frames
    assert decrypt(rewrapped, keys=[local_key(bytes(32), "local-2")], context={}).value == known
    candidates = _roots(_difference(message[:length], message[length : length + 16], body, tag))
    forgeries = [_rewrite(message, length, h, known, wanted) for h in candidates]
    assert wanted in map(_opens_to, forgeries)


def test_one_header_does_not() -> None:
    """The control: with a wrong H the same rewriting is refused."""
    message = encrypt(b"pay=100;to=alice", keys=[local_key()], context={})
    forged = _rewrite(message, decode_header(message)[1], _ONE, b"pay=100;to=alice", b"pay=999;to=mallo")
    assert _opens_to(forged) is None


def _functions_calling(name: str) -> list[ast.FunctionDef]:
    return [function for function in _functions() if name in _calls(function)]


@functools.cache
def _trees() -> list[ast.Module]:
    """Of all files that say a word of headers: everything looked for here has it in its name."""
    texts = (path.read_text() for path in Path(strongroom.__path__[0]).rglob("*.py"))
    return [ast.parse(text) for text in texts if "header" in text.lower()]


@functools.cache
def _functions() -> list[ast.FunctionDef]:
    return [node for tree in _trees() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


@functools.cache
def _calls(function: ast.FunctionDef) -> list[str]:
    called = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return [str(getattr(func, "attr", getattr(func, "id", ""))) for func in called]


def test_one_place_writes_headers_and_makes_its_own_message_id() -> None:
    """In all of the product one function encodes a header, once, under an id that no caller can choose."""
    (writer,) = _functions_calling("encode_header")
    assert _calls(writer).count("encode_header") == _calls(writer).count("urandom") == 1
    assert not any("id" in argument.arg for argument in writer.args.args + writer.args.kwonlyargs)
    assert not any(isinstance(node, ast.For | ast.While | ast.comprehension) for node in ast.walk(writer))
    assert sum(_mentions(tree, "encode_header") for tree in _trees()) == 1, "it is handed on, not called"
    (encoder,) = _functions_calling("_encode_header")
    assert encoder.name == "encode_header"


def test_headers_are_born_there_or_read_and_never_altered() -> None:
    """None is made elsewhere, or copied with a part replaced."""
    makers = [function.name for function in _functions() for name in _calls(function) if name == "Header"]
    assert sorted(makers) == ["_decode_header", "write_header"]
    altered = [
        node for tree in _trees() for node in ast.walk(tree) if getattr(node, "attr", "") == "_replace"
    ]
    assert not any("header" in ast.unparse(node) for node in altered)


def _mentions(tree: ast.AST, name: str) -> int:
    """How often the code says `name`, but for imports."""
    return sum(name in (getattr(node, "id", None), getattr(node, "attr", None)) for node in ast.walk(tree))


def test_one_place_uses_the_iv_of_the_header_tag() -> None:
    """A tag under it is made where the header is written, and checked where one is believed."""
    users = {function.name for function in _functions() if "_HEADER_IV" in _names(function)}
    assert users == {"write_header", "_unlock"}
    assert "_HEADER_IV" not in {name for tree in _trees() for name in _imported(tree)}


def _names(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def _imported(tree: ast.AST) -> set[str]:
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in froms for alias in node.names}


@pytest.mark.parametrize("keys", [1, 3])
def test_encrypting_again_makes_a_new_message_id(keys: int) -> None:
    """Changing KEKs is decrypting and encrypting anew."""
    message = encrypt(b"v", keys=[local_key()] * keys, context={})
    opened = decrypt(message, keys=[local_key()], context={})
    again = encrypt(opened.value, keys=[local_key()], context=opened.context)
    assert decode_header(again)[0].message_id != decode_header(message)[0].message_id
