"""What the reference's pages are made of. They load nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape

_STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "h2{margin-top:2.5rem;border-top:1px solid #8886;padding-top:1rem}code,pre{font:14px/1.4 ui-monospace,monospace}"
    "pre{background:#8881;padding:.8rem;overflow:auto;border-radius:6px}.method{font-weight:700;color:#0a7a55}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8883}"
    "summary{cursor:pointer}h1,h2,p,td,summary{overflow-wrap:anywhere}th{overflow-wrap:normal}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def code(value: object) -> str:
    """A text as it is, or a value as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return f"<pre>{escape(text)}</pre>"


def prose(text: str) -> str:
    """Text whose `quoted` parts are code."""
    return "".join(f"<code>{escape(part)}</code>" if i % 2 else escape(part) for i, part in enumerate(text.split("`")))


def page(title: str, body: str) -> str:
    """A whole page around its body, which is HTML."""
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(title)}</title><link rel=icon href='data:,'><style>{_STYLE}</style><main>{body}</main></html>"
    )
