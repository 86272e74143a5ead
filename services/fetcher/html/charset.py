"""A page's characters: which encoding it is in, as browsers find out (HTML Living Standard, section 13.2.3.2), and its text."""

from __future__ import annotations

import codecs
import re

from services.fetcher.html.markup import BLANK

_SCANNED = 1024
_WINDOWS_1252 = "cp1252"
_USER_DEFINED = "iso8859-1"
_UTF_16 = frozenset({"utf-16-le", "utf-16-be"})

_LABELS = {
    "utf-8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8",
    "cp866": "866 cp866 csibm866 ibm866",
    "iso8859-2": "csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2",
    "iso8859-3": "csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3",
    "iso8859-4": "csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4",
    "iso8859-5": "csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988",
    "iso8859-6": "arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e iso-8859-6-i iso-ir-127 iso8859-6 "
    "iso88596 iso_8859-6 iso_8859-6:1987",
    "iso8859-7": "csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7 iso88597 iso_8859-7 iso_8859-7:1987 sun_eu_greek",
    "iso8859-8": "csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-ir-138 iso8859-8 iso88598 iso_8859-8 iso_8859-8:1988 visual "
    "csiso88598i iso-8859-8-i logical",
    "iso8859-10": "csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6",
    "iso8859-13": "iso-8859-13 iso8859-13 iso885913",
    "iso8859-14": "iso-8859-14 iso8859-14 iso885914",
    "iso8859-15": "csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9",
    "iso8859-16": "iso-8859-16",
    "koi8-r": "cskoi8r koi koi8 koi8-r koi8_r",
    "koi8-u": "koi8-ru koi8-u",
    "mac-roman": "csmacintosh mac macintosh x-mac-roman",
    "cp874": "dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874",
    "cp1250": "cp1250 windows-1250 x-cp1250",
    "cp1251": "cp1251 windows-1251 x-cp1251",
    _WINDOWS_1252: "ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591 iso_8859-1 iso_8859-1:1987 l1 latin1 "
    "us-ascii windows-1252 x-cp1252",
    "cp1253": "cp1253 windows-1253 x-cp1253",
    "cp1254": "cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 l5 latin5 windows-1254 x-cp1254",
    "cp1255": "cp1255 windows-1255 x-cp1255",
    "cp1256": "cp1256 windows-1256 x-cp1256",
    "cp1257": "cp1257 windows-1257 x-cp1257",
    "cp1258": "cp1258 windows-1258 x-cp1258",
    "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "gb18030": "chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk gb18030",
    "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
    "euc-jp": "cseucpkdfmtjapanese euc-jp x-euc-jp",
    "iso2022-jp": "csiso2022jp iso-2022-jp",
    "cp932": "csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis",
    "cp949": "cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 windows-949",
    "utf-16-be": "unicodefffe utf-16be",
    "utf-16-le": "csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le",
    # A control character for each byte beyond ASCII, of which no URL is made: latin-1 stands in. In a page's own words it means windows-1252.
    _USER_DEFINED: "x-user-defined",
    # The standard's "replacement" is for encodings in which markup can hide; what is beyond ASCII is lost.
    "ascii": "csiso2022kr hz-gb-2312 iso-2022-cn iso-2022-cn-ext iso-2022-kr replacement",
}
_CODECS = {label: codec for codec, labels in _LABELS.items() for label in labels.split()}
"""Python's codecs by the labels of the WHATWG Encoding Standard, section 4.2: those of its encodings that Python has, or a wider one."""

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF16_LE, "utf-16-le"))


def decode(body: bytes, content_type: str | None) -> str:
    """A page's text: by its byte order mark, else Content-Type, else its own `meta`, else as UTF-8 if it is that, else windows-1252."""
    for mark, marked in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(marked, "replace")
    codec = _from_content_type(content_type or "") or prescan(body[:_SCANNED])
    if codec:
        return body.decode(codec, "replace")
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode(_WINDOWS_1252, "replace")


def codec_for(label: str) -> str | None:
    """Python's codec for an encoding's label in whatever case ("get an encoding", section 4.2 of the Encoding Standard), if it is a label."""
    return _CODECS.get(label.strip(BLANK).lower())


_PARAMETER = re.compile(r";[\t ]*charset[\t ]*=[\t ]*(?:\"([^\"]*)\"|([^\s;\"]+))", re.IGNORECASE)


def _from_content_type(value: str) -> str | None:
    found = _PARAMETER.search(value)
    return codec_for(found[1] or found[2] or "") if found else None


_ATTRIBUTE = re.compile(
    rf"[{BLANK}/]*([^{BLANK}/>][^{BLANK}/>=]*)"
    rf"(?:[{BLANK}]*=[{BLANK}]*(?:\"([^\"]*)\"|'([^']*)'|([^{BLANK}>\"'][^{BLANK}>]*)(?=[{BLANK}>])|(?=>))|(?=[{BLANK}/>]))"
)
_META = re.compile(rf"<meta(?=[{BLANK}/])", re.IGNORECASE)
_TAG = re.compile(rf"</?[a-zA-Z][^{BLANK}>]*")
_IN_CONTENT = re.compile(rf"charset[{BLANK}]*=[{BLANK}]*(?:\"([^\"]*)\"|'([^']*)'|([^{BLANK};\"']+))", re.IGNORECASE)
_XML = re.compile(r"<\?xml[^>]*?encoding[\0-\x20]*=[\0-\x20]*(?:\"([^\">]*)\"|'([^'>]*)')")


def prescan(head: bytes) -> str | None:
    """The codec that a page names itself ("prescan a byte stream to determine its encoding"), in the bytes given."""
    if head.startswith((b"<\0?\0x\0", b"\0<\0?\0x")):
        return "utf-16-le" if head[0] else "utf-16-be"
    text, at = head.decode("latin-1"), 0
    while (at := text.find("<", at)) >= 0:
        end = at
        if text.startswith("<!--", at):
            end = text.find("-->", at + 2)
        elif _META.match(text, at):
            values, end = _attributes(text, at + len("<meta"))
            if end >= 0 and (codec := _declared(values)):
                return codec
        elif tag := _TAG.match(text, at):
            _, end = _attributes(text, tag.end())
        elif text.startswith(("<!", "</", "<?"), at):
            end = text.find(">", at)
        if end < 0:  # the bytes end within it
            break
        at = end + 1
    return _from_xml(text)


def _attributes(text: str, at: int) -> tuple[dict[str, str], int]:
    """The attributes of a tag in lower case, the first of each name, and where the tag ends, or -1 if the text ends before."""
    values: dict[str, str] = {}
    while found := _ATTRIBUTE.match(text, at):
        at = found.end()
        values.setdefault(found[1].lower(), (found[2] or found[3] or found[4] or "").lower())
    rest = text[at:].lstrip(f"{BLANK}/")
    return values, len(text) - len(rest) if rest.startswith(">") else -1


def _declared(values: dict[str, str]) -> str | None:
    label = values.get("charset")
    if label is None and values.get("http-equiv") == "content-type":
        found = _IN_CONTENT.search(values.get("content", ""))
        label = (found[1] or found[2] or found[3]) if found else None
    codec = codec_for(label or "")
    if codec in _UTF_16:  # a page in which ASCII can be read isn't in that
        return "utf-8"
    return _WINDOWS_1252 if codec == _USER_DEFINED else codec


def _from_xml(text: str) -> str | None:
    """What the standard calls "get an XML encoding", in the same section."""
    found = _XML.match(text)
    codec = codec_for(found[1] or found[2] or "") if found else None
    return "utf-8" if codec in _UTF_16 else codec
