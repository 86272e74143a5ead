"""A spider that hands every URL of a list to Scrapy's FilesPipeline. Runs in the peers' environment: nothing of ours is imported."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import scrapy  # type: ignore[import-not-found]  # it is in the peers' environment only


class Files(scrapy.Spider):  # type: ignore[misc]  # Scrapy isn't installed where types are checked
    """One item with all URLs; the pipeline asks for each of them by itself."""

    name = "files"
    start_urls = ("data:,",)  # something to begin with that needs no network
    custom_settings = {  # noqa: RUF012  (Scrapy's own way)
        "ITEM_PIPELINES": {"scrapy.pipelines.files.FilesPipeline": 1},
        "LOG_LEVEL": "WARNING",
        "TELNETCONSOLE_ENABLED": False,
        "RETRY_ENABLED": False,
        "ROBOTSTXT_OBEY": False,
        "DOWNLOAD_DELAY": 0,
        "CONCURRENT_ITEMS": 1000,
    }

    def parse(self, response: Any) -> Any:  # noqa: ANN401, ARG002  (Scrapy's types aren't there)
        """An item a URL, as a spider of a site's pages would make them."""
        self.began = time.monotonic()
        for url in Path(self.settings["URLS"]).read_text("utf-8").split():
            yield {"file_urls": [url]}

    def closed(self, reason: str) -> None:  # noqa: ARG002  (Scrapy's signature)
        """Called when all is downloaded."""
        Path(self.settings["REPORT"]).write_text(json.dumps({"seconds": time.monotonic() - self.began}), "utf-8")
