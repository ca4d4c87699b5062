"""Changes of a message that keep its form: one field is changed and every length around it put right."""

from __future__ import annotations

import random
from collections.abc import Callable

from strongroom.envelope.message import TAG_LENGTH, Header, decode_header, encode_header
from strongroom.errors import IntegrityError, InvalidRequestError
from strongroom.keys import Context, WrappedKey
from tests.unit.envelope_support import field

Mutate = Callable[[bytes], bytes]


def changed(message: bytes, dice: random.Random, mutate: Mutate) -> bytes | None:
    """`message` with one field of its header or one piece of its body changed by `mutate`.

    None where there is no header to change, or the change does not fit in one.
    """
    try:
        header, length = decode_header(message)
        if dice.random() < 0.5:
            return message[:length] + _moved(message[length:], header, dice, mutate)
        change = dice.choice((_suite, _context, _wrapped_keys, _frame_length))
        return encode_header(change(header, dice, mutate)) + message[length:]
    except (IntegrityError, InvalidRequestError):
        return None


def _suite(header: Header, dice: random.Random, mutate: Mutate) -> Header:
    return header._replace(suite=header.suite ^ 0x0100)


def _context(header: Header, dice: random.Random, mutate: Mutate) -> Header:
    pairs = dict(header.context)
    key = dice.choice([*pairs, "new"])
    value = pairs.pop(key, "")
    if dice.random() < 0.8:
        pairs[_text(mutate(key.encode())) if dice.random() < 0.3 else key] = _text(mutate(value.encode()))
    return header._replace(context=Context.of(pairs))


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _wrapped_keys(header: Header, dice: random.Random, mutate: Mutate) -> Header:
    made = [*header.wrapped_keys]
    at = dice.randrange(len(made))
    if dice.random() < 0.5:
        made[at : at + 1] = made[at : at + 1] * dice.randrange(3)
    else:
        provider_id, key_info, ciphertext = made[at]
        made[at] = WrappedKey(_text(mutate(provider_id.encode())), mutate(key_info), mutate(ciphertext))
    return header._replace(wrapped_keys=tuple(made))


def _frame_length(header: Header, dice: random.Random, mutate: Mutate) -> Header:
    lengths = (0, 1, 2, 7, 8, 16, 39, 40, 41, 2**31, 2**32 - 1, dice.randrange(100))
    return header._replace(frame_length=dice.choice(lengths))


def _moved(body: bytes, header: Header, dice: random.Random, mutate: Mutate) -> bytes:
    """Frames left out, repeated, swapped, or one of them changed; a footer put behind them."""
    size = header.frame_length + 32 if 0 < header.frame_length <= len(body) else len(body)
    tag, rest = body[:TAG_LENGTH], body[TAG_LENGTH:]
    frames = [rest[at : at + size] for at in range(0, len(rest), size or 1)] or [b""]
    at, other = dice.randrange(len(frames)), dice.randrange(len(frames))
    match dice.randrange(5):
        case 0:
            frames[at : at + 1] = frames[at : at + 1] * dice.randrange(3)
        case 1:
            frames[at], frames[other] = frames[other], frames[at]
        case 2:
            frames[at] = mutate(frames[at])
        case 3:
            frames.append(field(bytes(dice.choice((0, 1, 102, 103, 104, 105)))))
        case _:  # another sequence number
            number = dice.choice((0, 1, 2, 3, 2**32 - 1)).to_bytes(4, "big")
            frames[at] = number + frames[at][4:]
    return tag + b"".join(frames)
