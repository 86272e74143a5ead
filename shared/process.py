"""A service as a process: settings, logs, the event loop, signals."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from shared import settings as settings_module
from shared import tracing
from shared.absence import MONGODB
from shared.errors import SettingsError, StoreUnavailable
from shared.exposition import exposing
from shared.telemetry import log_to_stderr

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from shared.settings import Settings

    Service = Callable[[Settings], AbstractAsyncContextManager[None]]

HARD_STOP_SECONDS = 10.0

log = logging.getLogger("bowerbird.process")


def run(service: Service) -> int:
    """Opens a service, leaves it running until SIGTERM or SIGINT, and closes it; a second signal ends the process at once.

    Returns the exit code: 2 when a setting is wrong, 1 when it ended by a fault.
    """
    try:
        settings = settings_module.load(os.environ)
        log_to_stderr(settings.log_level, settings.log_format)
        # A message, once handled, is let go by reference counts alone, while looking for cycles among all that is in hand took a fifth of a
        # fetcher's time (docs/performance.md).
        gc.set_threshold(100_000, 20, 100)
        with tracing.exporting(getattr(service, "__name__", "bowerbird"), os.environ), asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_until_signalled(service, settings))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except Exception:
        log.exception("ended by a fault")
        return 1
    return 0


async def patiently(call: Callable[[], Awaitable[None]]) -> None:
    """Calls again until MongoDB is there: services start in any order."""
    while True:
        try:
            await call()
        except StoreUnavailable as error:
            MONGODB.noted(error)
        else:
            return MONGODB.over()
        await asyncio.sleep(1)


@asynccontextmanager
async def beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Runs `work`, which ends only by failing, beside the block; a failure is logged."""
    task = asyncio.create_task(work)
    task.add_done_callback(_report)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("work in the background failed", exc_info=error)


async def _until_signalled(service: Service, settings: Settings) -> None:
    signalled, running = asyncio.Event(), asyncio.Event()

    async def serve() -> None:
        async with exposing(settings), service(settings):
            gc.freeze()  # what is there now stays: it needn't be looked at again and again
            running.set()
            await signalled.wait()
            log.info("stopping", extra={"grace": settings.grace})

    def stop() -> None:
        if signalled.is_set():
            # What is in hand goes back to its queue when the connection drops: nothing is lost by leaving now.
            os._exit(1)
        signalled.set()
        # A server that hangs must not hold up the end: what isn't finished by then goes back to its queue all the same.
        asyncio.get_running_loop().call_later(settings.grace + HARD_STOP_SECONDS, os._exit, 1)
        if not running.is_set():  # still waiting for its servers, with nothing in hand
            serving.cancel()

    serving = asyncio.ensure_future(serve())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await asyncio.wait((serving,), return_when=asyncio.FIRST_COMPLETED)
    if not serving.cancelled():
        serving.result()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  (not there on every platform)
    except ImportError:
        return None
    return uvloop.new_event_loop
