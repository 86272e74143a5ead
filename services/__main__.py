"""`bowerbird COMMAND`: each service and everything together; what isn't one of them is for the client."""

from __future__ import annotations

import importlib
import sys

from shared.errors import SettingsError

# Imported when called, so that no command pays for what another needs.
COMMANDS = {
    "up": ("services.local.up", "RabbitMQ, MongoDB and all services on this machine"),
    "api": ("services.api.main", "the HTTP API and the gallery"),
    "fetcher": ("services.fetcher.main", "downloads what the api was asked for"),
    "storer": ("services.storer.main", "stores what the fetchers downloaded"),
}
USAGE = "usage: bowerbird COMMAND\n\n" + "".join(f"  {name:<10}{meaning}\n" for name, (_, meaning) in COMMANDS.items())


def main() -> int:
    """Run the command that the arguments name; the exit code: 2 for a wrong command or setting, 130 after Ctrl-C."""
    arguments = sys.argv[1:]
    if arguments in (["--help"], ["-h"]):
        sys.stdout.write(USAGE)
        return 0
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        sys.stderr.write(USAGE)
        return 2
    try:
        module, _ = COMMANDS[arguments[0]]
        return importlib.import_module(module).main() or 0
    except SettingsError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
