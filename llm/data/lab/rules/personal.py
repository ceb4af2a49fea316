"""Personal data: e-mail addresses, phone numbers and addresses of machines are masked and counted.

mask_emails("Write to ada@example.org")      # ("Write to |||EMAIL_ADDRESS|||", 1)

The patterns find what most often is personal; they are no proof that a text has none. A mask is not counted again.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import cycle

from llm.data.lab.rules.steps import Change
from llm.data.lab.verdict import Edited

EMAIL_MASK = "|||EMAIL_ADDRESS|||"
PHONE_MASK = "|||PHONE_NUMBER|||"
IP_MASK = "|||IP_ADDRESS|||"
Masks = str | tuple[str, ...]  # several are taken in turn

# What may stand before the @ (RFC 5322, "atext", without the | that our masks have).
_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{}~-]"
_LOCAL_BACKWARD = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_LOCAL_START = re.compile(rf"\b{_ATEXT}")
_LONGEST_LOCAL = 256
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"
_IPV4 = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}|\[{_IPV4}\]")

# The next two begin with a set of characters, which `re` finds fast; (?<!x.) looks at what is before that character.
# Not within a longer row of numbers, such as the version 1.2.3.4.5; of IPv6 the part that is given to the public.
_IP = re.compile(
    r"[0-9](?<![0-9].)(?:(?<![0-9]\..)[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![0-9]|\.[0-9])"
    r"|(?<=[23])(?<![\w:.].)[0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:]))"
)

# Ten digits as in North America, with or without +1 (without any separator only what can be an area: not a time in
# seconds); or 8 to 15 digits that begin with + and the code of a country. Not in the path of an address.
_REST = r"[0-9]{3}[-. ]?[0-9]{4}"
_TEN = rf"(?:\([0-9]{{3}}\)[-. ]?|[0-9]{{3}}[-. ]|[2-9][0-9]{{2}}){_REST}"
_PHONE = re.compile(
    r"[(+0-9](?<![\w.+/=-].)(?:"
    rf"(?<=\()[0-9]{{3}}\)[-. ]?{_REST}|(?<=[0-9])[0-9]{{2}}[-. ]{_REST}|(?<=[2-9])[0-9]{{2}}{_REST}"
    rf"|(?:(?<=\+)1|(?<=1))[-. ]?{_TEN}"
    r"|(?<=\+)(?=[1-9](?:[-. ()]{0,2}[0-9]){7,14}(?![0-9]))[0-9]{1,3}(?:[-. ]?\(?[0-9]{1,4}\)?){2,6}"
    r")(?![-.]?[0-9])(?!\w)"
)

Span = tuple[int, int]


def mask_emails(text: str, masks: Masks = EMAIL_MASK) -> tuple[str, int]:
    """The text with its e-mail addresses masked, and how many were."""
    return _mask(text, _emails(text), masks)


def mask_phone_numbers(text: str, masks: Masks = PHONE_MASK) -> tuple[str, int]:
    """The text with its phone numbers masked, and how many were."""
    return _mask(text, (match.span() for match in _PHONE.finditer(text)), masks)


def mask_ips(text: str, masks: Masks = IP_MASK, *, public_only: bool = False) -> tuple[str, int]:
    """The text with its addresses of machines masked, or only with those of the public Internet; how many were."""
    spans = (match.span() for match in _IP.finditer(text) if _is_address(match.group(), public_only=public_only))
    return _mask(text, spans, masks)


def _mask(text: str, spans: Iterable[Span], masks: Masks) -> tuple[str, int]:
    choices = (masks,) if isinstance(masks, str) else masks
    following = cycle(choices)
    parts: list[str] = []
    end = count = 0
    for start, stop in spans:
        if text[start:stop] not in choices:  # a mask from an earlier time stays
            parts += [text[end:start], next(following)]
            end, count = stop, count + 1
    return "".join([*parts, text[end:]]), count


def _emails(text: str) -> Iterator[Span]:
    """Where the addresses are. From each @ we look back and forth: a text without @ costs one search."""
    free = 0  # the end of the last address
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        start = _local_start(text, at, free) if domain else None
        if domain and start is not None:
            yield start, domain.end()
            free = domain.end()
        at = text.find("@", at + 1)


def _local_start(text: str, at: int, free: int) -> int | None:
    before = text[max(free, at - _LONGEST_LOCAL) : at]
    match = _LOCAL_BACKWARD.match(before[::-1])
    start = _LOCAL_START.search(text, at - match.end(), at) if match else None
    return start.start() if start else None


def _is_address(name: str, *, public_only: bool) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:  # such as 1.2.3.04
        return False
    return address.is_global or not public_only


def _masked(name: str, mask: Callable[[str], tuple[str, int]], text: str) -> Edited:
    count = 0
    text, found = mask(text)
    while found:  # what follows a number without a space is seen once that number is masked
        count += found
        text, found = mask(text)
    return Edited(text, {name: count} if count else {})


_mask_public_ips = partial(mask_ips, public_only=True)


# Addresses that are kept free for examples, and addresses of machines that answered nobody: what datatrove puts in.
EXAMPLE_EMAILS = ("email@example.com", "firstname.lastname@example.org")
EXAMPLE_IPS = ("22.214.171.124", "126.96.36.199", "188.8.131.52", "184.108.40.206", "220.127.116.11", "18.104.22.168")

EMAIL = Change(
    "email", partial(_masked, "email", mask_emails), "CS336, assignment 4", f"E-mail addresses become {EMAIL_MASK}."
)
PHONE = Change(
    "phone", partial(_masked, "phone", mask_phone_numbers), "CS336, assignment 4", f"Phone numbers become {PHONE_MASK}."
)
PUBLIC_IP = Change(
    "ip", partial(_masked, "ip", _mask_public_ips), "datatrove", f"Public IP addresses become {IP_MASK}."
)
EXAMPLE_EMAIL = Change(
    "example_email",
    partial(_masked, "email", partial(mask_emails, masks=EXAMPLE_EMAILS)),
    "FineWeb",
    f"E-mail addresses become {' or '.join(EXAMPLE_EMAILS)}; counted as email.",
)
EXAMPLE_IP = Change(
    "example_ip",
    partial(_masked, "ip", partial(_mask_public_ips, masks=EXAMPLE_IPS)),
    "FineWeb",
    "Public IP addresses become some that answer nobody; counted as ip.",
)
