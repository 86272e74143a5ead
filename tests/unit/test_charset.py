"""services/fetcher/html/charset.py: which encoding a page is in."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fetcher.html import charset

HTML = "text/html"


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        (b"\xef\xbb\xbfa\xc3\xa4", "text/html; charset=iso-8859-1", "aä"),
        (b"\xff\xfea\0\xe4\0", "text/html; charset=utf-8", "aä"),
        (b"\xfe\xff\0a\0\xe4", None, "aä"),
        (b"a\xc3\xa4", None, "aä"),
        (b"a\xe4\x80", None, "aä€"),
        (b"a\xc3\xa4", "text/html; charset=latin1", "aÃ¤"),
        (b"\x80", "text/html;charset=ISO-8859-1", "€"),
        (b"\x80", "text/html; charset=us-ascii", "€"),
        (b"\xe4", 'text/html; CHARSET="windows-1251"', "д"),
        (b"\xe4", "text/html; charset = koi8-r", "Д"),
        (b"\xe4", "text/html; charset=nonsense", "ä"),
        (b"\x82\xa0", "text/html; charset=Shift_JIS", "あ"),
        (b"\xa4\xa2", "text/html; charset=euc-jp", "あ"),
        (b'\x1b$B$"', "text/html; charset=iso-2022-jp", "あ"),
        (b"\xc4\xe3", "text/html; charset=gb2312", "你"),
        (b"\xa7A", "text/html; charset=big5", "你"),
        (b"\xb3\xca", "text/html; charset=ks_c_5601-1987", "너"),
        (b"a\0", "text/html; charset=utf-16", "a"),
        (b"a\xff", "text/html; charset=iso-2022-kr", "a\ufffd"),
        (b"a\xff", "text/html; charset=utf-8", "a\ufffd"),
        (b"<meta charset=windows-1251>\xe4", "text/html; charset=koi8-r", "<meta charset=windows-1251>Д"),
    ],
)
def test_a_page_is_decoded(body: bytes, content_type: str | None, text: str) -> None:
    assert charset.decode(body, content_type) == text


@pytest.mark.parametrize(
    ("head", "codec"),
    [
        (b"<meta charset=koi8-r>", "koi8-r"),
        (b"<META CHARSET='KOI8-R'>", "koi8-r"),
        (b'<meta/charset = " koi8-r ">', "koi8-r"),
        (b"<meta name=a content=b charset=koi8-r>", "koi8-r"),
        (b"<!doctype html><html lang=en><head><title>x</title><meta charset=koi8-r>", "koi8-r"),
        (b"<meta http-equiv=Content-Type content='text/html; charset=koi8-r'>", "koi8-r"),
        (b"<meta content='text/html; charset=koi8-r' http-equiv=content-type>", "koi8-r"),
        (b"<meta http-equiv=content-type content='text/html; charset = \"koi8-r\"'>", "koi8-r"),
        (b"<meta content='text/html; charset=koi8-r'>", None),
        (b"<meta http-equiv=refresh content='charset=koi8-r'>", None),
        (b"<meta http-equiv=content-type content='charset=koi8-r' charset=utf-8>", "utf-8"),
        (b"<meta charset=nonsense><meta charset=koi8-r>", "koi8-r"),
        (b"<meta charset=koi8-r charset=utf-8>", "koi8-r"),
        (b"<meta charset=utf-16>", "utf-8"),
        (b"<meta charset=utf-16be>", "utf-8"),
        (b"<meta charset=x-user-defined>", "cp1252"),
        (b"<meta charset=latin1>", "cp1252"),
        (b"<meta charset=koi8-r", None),
        (b"<meta charset='koi8-r", None),
        (b"<metacharset=koi8-r>", None),
        (b"<!-- <meta charset=utf-8> --><meta charset=koi8-r>", "koi8-r"),
        (b"<!--><meta charset=koi8-r>", "koi8-r"),
        (b"<!-- <meta charset=koi8-r>", None),
        (b"<a title='<meta charset=utf-8>'><meta charset=koi8-r>", "koi8-r"),
        (b"<? > <meta charset=koi8-r>", "koi8-r"),
        (b"</ <meta charset=utf-8> <meta charset=koi8-r>", "koi8-r"),
        (b"< meta charset=utf-8><meta charset=koi8-r>", "koi8-r"),
        (b"<?xml version='1.0' encoding='koi8-r'?>", "koi8-r"),
        (b"<?xml version='1.0' encoding='utf-16'?>", "utf-8"),
        (b"<?xml version='1.0' encoding='koi8-r'?><meta charset=utf-8>", "utf-8"),
        (b" <?xml version='1.0' encoding='koi8-r'?>", None),
        (b"<\0?\0x\0", "utf-16-le"),
        (b"\0<\0?\0x", "utf-16-be"),
        (b"", None),
    ],
)
def test_a_page_names_its_own_encoding(head: bytes, codec: str | None) -> None:
    assert charset.prescan(head) == codec


def test_only_the_first_kibibyte_is_searched() -> None:
    meta = b"<meta charset=koi8-r>"
    assert charset.decode(b" " * (1024 - len(meta)) + meta + b"\xe4", None).endswith("Д")
    assert charset.decode(b" " * (1025 - len(meta)) + meta + b"\xe4", None).endswith("ä")


def test_python_has_every_codec_of_the_table() -> None:
    assert all(codecs.lookup(codec) for codec in set(charset._CODECS.values()))
    assert charset.codec_for("\t UTF8 \n") == "utf-8"
    assert charset.codec_for("utf-7") is None
    assert charset.codec_for("base64") is None


@given(st.binary(max_size=300) | st.text("<>meta charset='\"=/!-? \nutf8koi", max_size=200).map(str.encode), st.none() | st.text(max_size=60))
def test_anything_can_be_decoded(body: bytes, content_type: str | None) -> None:
    assert isinstance(charset.decode(body, content_type), str)
