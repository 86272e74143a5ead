"""`bowerbird COMMAND`: each service and everything together; what isn't one of them is for the client."""

from __future__ import annotations

import importlib
import sys
from functools import partial

from shared.errors import SettingsError

# Imported when called, so that no command pays for what another needs: the client least of all.
SERVICES = {
    "up": ("services.local.up", "RabbitMQ, MongoDB and all services on this machine"),
    "api": ("services.api.main", "the HTTP API"),
    "fetcher": ("services.fetcher.main", "downloads what the api was asked for"),
    "storer": ("services.storer.main", "stores what the fetchers downloaded"),
    "asyncapi": ("services.api.reference.asyncapi", "prints the events, their exchange and queues as an AsyncAPI document"),
}


def main() -> int:
    """Run the command that the arguments name; the exit code: 1 when it failed, 2 for a wrong command or setting, 130 after Ctrl-C."""
    arguments = sys.argv[1:]
    try:
        if len(arguments) == 1 and arguments[0] in SERVICES:
            return _serve(arguments[0])
        services = {name: (meaning, partial(_serve, name)) for name, (_, meaning) in SERVICES.items()}
        code: int = importlib.import_module("services.cli.main").main(arguments, services=services)
        return code
    except SettingsError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 2
    except KeyboardInterrupt:
        return 130


def _serve(name: str) -> int:
    module, _ = SERVICES[name]
    return importlib.import_module(module).main() or 0


if __name__ == "__main__":
    sys.exit(main())
