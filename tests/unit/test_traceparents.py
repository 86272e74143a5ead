"""shared/traceparents.py: what W3C Trace Context calls valid is read, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.traceparents import MAX_LENGTH, TraceParent, parse

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),  # flags that are not known are not looked at
        (f"00-{TRACE}-{SPAN}-fe", False),
        (f"01-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-will-be", True),
    ],
)
def test_valid_ones_are_read(text: str, sampled: bool) -> None:  # noqa: FBT001
    assert parse(text) == TraceParent(int(TRACE, 16), int(SPAN, 16), sampled)


@pytest.mark.parametrize(
    "text",
    [
        None, b"", 7, "", "00", f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE}-{SPAN}-01-", f"cc-{TRACE}-{SPAN}-01x",
        f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}-1", f"00-{TRACE}-{SPAN}",
        f" 00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01\n", f"00-{TRACE[:-1]}\u0661-{SPAN}-01", f"0x-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-{'x' * MAX_LENGTH}",
    ],
)  # fmt: skip
def test_everything_else_is_as_if_it_were_not_there(text: object) -> None:
    assert parse(text) is None


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_written_is_read(trace: int, span: int, sampled: bool) -> None:  # noqa: FBT001
    written = str(TraceParent(trace, span, sampled))
    assert len(written) == 55
    assert parse(written) == (trace, span, sampled)


@given(st.text(max_size=300) | st.text("0123456789abcdef-", min_size=50, max_size=60))
def test_no_text_is_too_much_for_it(text: str) -> None:
    found = parse(text)
    assert found is None or (0 < found.trace < 2**128 and 0 < found.span < 2**64)
