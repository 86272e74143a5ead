"""The same to each of several things that were named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.cli.errors import Failure, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.cli.session import Session


def each(here: Session, names: Sequence[str], done_as: str, effect: Callable[[str], str], *, hint: str, none: str = "") -> None:
    """Does it to each; one that is refused doesn't keep the others from it. Raises Failure when one was."""
    done: list[str] = []
    refused: dict[str, str] = {}
    try:
        for name in names:
            try:
                here.output.say(f"{name}  {effect(name)}")
                done.append(name)
            except Refused as error:
                refused[name] = str(error)
                here.output.complain(f"{name}: {error} {hint}")
    except Failure as failure:
        raise Failure(f"{failure} {len(done):,} of {len(names):,} were {done_as} before that.") from None
    finally:
        if here.output.as_json:
            here.output.json({done_as: done, "refused": refused})
    if not names:
        here.output.say(none)
    elif refused:
        raise Failure(f"{len(done):,} of {len(names):,} were {done_as}.")
