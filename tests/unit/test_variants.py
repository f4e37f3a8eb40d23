"""Simplified and traditional Chinese are told apart by characters that only one of them has."""

from __future__ import annotations

import pytest

from weitiao.errors import WeitiaoError
from weitiao.workshop import variants
from weitiao.workshop.variants import telling, to_simplified, variant_of

pytest.importorskip("opencc")


@pytest.mark.parametrize(
    ("text", "variant"),
    [
        ("这个问题我们已经说过了", "simplified"), ("這個問題我們已經說過了", "traditional"),
        ("他在家里", None), ("皇后在台上", None), ("他穿着衣服", None), ("著名的人", None), ("乾坤", None),
        ("", None), ("no Chinese at all", None), ("これは日本です", None), ("這个", None),
        ("这里的軟體很好用，我们说过", "simplified"), ("臺灣的电脑與軟體", "traditional"),
    ],
)  # fmt: skip
def test_the_variant_of_a_text(text, variant):
    assert variant_of(text) == variant


def test_telling_characters_are_those_of_one_variant_only():
    assert telling("这軟體和这台电脑") == (["这", "这", "电", "脑"], ["軟", "體"])


@pytest.mark.parametrize(
    ("text", "simplified"),
    [
        ("這個問題我們已經說過了", "这个问题我们已经说过了"), ("頭髮乾了，發現問題", "头发干了，发现问题"),
        ("乾隆皇帝與皇后", "乾隆皇帝与皇后"), ("已经是简体", "已经是简体"),
        ("plain, 123!\n", "plain, 123!\n"), ("", ""),
    ],
)  # fmt: skip
def test_traditional_becomes_simplified(text, simplified):
    assert to_simplified(text) == simplified
    assert to_simplified(simplified) == simplified


def test_the_package_is_asked_for_where_it_is_not_there(monkeypatch):
    monkeypatch.setattr(variants, "is_installed", lambda: False)
    variants._converter.cache_clear()
    with pytest.raises(WeitiaoError, match=r"needs the package OpenCC.*\n?.*weitiao\[chinese\]"):
        to_simplified("這")
    assert to_simplified("plain") == "plain"
