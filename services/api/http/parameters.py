"""Query parameters, read strictly: a misspelt filter must not quietly list everything."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import parse_qsl

from services.api.http.problems import BAD_PARAMETER, Problem

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_PARAMETERS = 32


def read(query: bytes, known: Collection[str]) -> dict[str, str]:
    """The parameters of a query string, each of them known and given once. Raises Problem, which names the one that isn't."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=False, errors="strict", max_num_fields=MAX_PARAMETERS)
    except ValueError:  # also what UnicodeDecodeError is
        raise Problem(BAD_PARAMETER, "The query string isn't percent-encoded UTF-8, or has too many parameters.") from None
    values: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            near = difflib.get_close_matches(name[:64], known, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; known are " + ", ".join(known) + "."
            if "url" in values:
                hint += " (An & within url= is written %26.)"
            refuse(name, f"{name[:64]!r} is not a parameter here{hint}")
        if name in values:
            refuse(name, f"{name} is given more than once.")
        values[name] = value
    return values


def whole(values: dict[str, str], name: str, *, default: int, low: int, high: int) -> int:
    """A whole number within bounds. Raises Problem."""
    text = values.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        refuse(name, f"{name} must be a whole number from {low} to {high}, not {text[:64]!r}.")
    return int(text)


def refuse(name: str, detail: str) -> NoReturn:
    """Raises the Problem that says what is wrong with a parameter."""
    raise Problem(BAD_PARAMETER, detail, errors=[{"parameter": name[:64], "detail": detail}])
