"""Personal data: found in the forms people write it, and not in what only looks like it. All numbers are made up."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weitiao.workshop.personal import WEIGHTS, find, is_identity, passes_luhn


def identity(first):
    """The first 17 digits with their checksum (GB 11643)."""
    rest = sum(weight * int(digit) for weight, digit in zip(WEIGHTS, first, strict=True)) % 11
    return first + "10X98765432"[rest]


def card(first):
    """Digits with their Luhn checksum."""
    return next(first + last for last in "0123456789" if passes_luhn(first + last))


def iban(country, account):
    moved = "".join(str(int(character, 36)) for character in f"{account}{country}00")
    return f"{country}{98 - int(moved) % 97:02d}{account}"


RIGHT = [
    ("email", "write to jane.doe+x@mail.example.org today", "jane.doe+x@mail.example.org"),
    ("email", "邮箱ｊａｎｅ＠ｅｘａｍｐｌｅ．ｏｒｇ。", "ｊａｎｅ＠ｅｘａｍｐｌｅ．ｏｒｇ"),
    ("phone", "打13812345678给我", "13812345678"),
    ("phone", "电话：+86 138-1234-5678。", "+86 138-1234-5678"),
    ("phone", "手机１３８１２３４５６７８", "１３８１２３４５６７８"),
    ("phone", "座机010-63551234", "010-63551234"),
    ("phone", "(0571) 87651234转3", "(0571) 87651234"),
    ("phone", "call +44 20 7946 0958 now", "+44 20 7946 0958"),
    ("phone", "my number: (415) 555-2671.", "(415) 555-2671"),
    ("phone", "call me at 415-555-2671 x12", "415-555-2671 x12"),
    ("phone", "dial 020 7946 0958", "020 7946 0958"),
    ("phone", "My phone is 0490 75 40 81, thanks", "0490 75 40 81"),
    ("id_card", f"身份证{identity('11010519491231002')}", identity("11010519491231002")),
    ("id_card", f"号码 {identity('44030119900101123').lower()} 有效", identity("44030119900101123").lower()),
    ("id_card", "旧证 110105491231002 的", "110105491231002"),
    ("bank_card", f"card {card('455673712345678')} expired", card("455673712345678")),
    ("bank_card", f"卡号{card('622202020011223')[:4]} {card('622202020011223')[4:8]} {card('622202020011223')[8:]}",
     f"{card('622202020011223')[:4]} {card('622202020011223')[4:8]} {card('622202020011223')[8:]}"),
    ("iban", f"to {iban('DE', '370400440532013000')} please", iban("DE", "370400440532013000")),
    ("ip", "from 10.23.4.255 to us", "10.23.4.255"),
    ("ip", "host 2001:db8::8a2e:370:7334 is down", "2001:db8::8a2e:370:7334"),
    ("us_ssn", "SSN 123-45-6789", "123-45-6789"),
]  # fmt: skip
LEFT_ALONE = [
    "", "no numbers at all", "the year 2023 and 1999-12-31", "it costs 1,234,567.89 or 12345678 dollars",
    "order 20230115123456",
    "version 1.2.3.4", "v10.0.0.1 is out", "pi is 3.14159265358979", "在2020年10月10日", "12:30:45", "a@b",
    "@somebody hello",
    "127.0.0.1", "999.1.1.1", "第1234567890章", "3600-1200 = 2400", "12345678901234567890123", "00000000000",
    f"{identity('11010519491231002')[:-1]}{'0' if identity('11010519491231002')[-1] != '0' else '1'}",
    f"card {card('455673712345678')[:-1]}{(int(card('455673712345678')[-1]) + 1) % 10}", "000-12-3456",
    "ISBN 978-7-04-012345-6",
    "2020-10-10 call it a day",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "value"), RIGHT)
def test_what_is_there_is_found_whole(kind, text, value):
    assert [(span.kind, text[span.start : span.end]) for span in find(text)] == [(kind, value)]


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_what_only_looks_like_it_is_left_alone(text):
    assert find(text) == []


def test_several_in_one_text():
    text = "mail a.b@example.org or call 13812345678, from 10.1.2.3"
    assert [span.kind for span in find(text)] == ["email", "phone", "ip"]


@given(st.lists(st.sampled_from([text for _, text, _ in RIGHT] + ["then", "，", "7", "-", " "]), max_size=6))
def test_spans_are_in_order_and_apart(texts):
    text = " ".join(texts)
    found = find(text)
    assert all(0 <= one.start < one.end <= len(text) for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))


@given(st.integers(0, 10**17 - 1))
def test_checksums(number):
    digits = f"{number:017d}"
    assert sum(is_identity(digits + last) for last in "0123456789X") <= 1
    assert sum(passes_luhn(digits + last) for last in "0123456789") == 1
