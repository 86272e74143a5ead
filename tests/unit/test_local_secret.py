"""services/local/secret.py: made once, readable by nobody else, and good as the setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.local.errors import StartError
from services.local.secret import made_once
from shared.settings import load

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    (tmp_path / "secret.new").write_text("half of")  # what a start that was killed left
    secret = made_once(file)
    assert made_once(file) == secret
    assert file.stat().st_mode & 0o777 == 0o600
    assert [len(key) for key in load({"BOWERBIRD_WEBHOOK_SECRET": secret}).webhook_secret] == [32]
    assert list(tmp_path.iterdir()) == [file]
    assert made_once(tmp_path / "another") != secret


def test_what_cannot_be_kept_stops_the_start_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="no/secret"):
        made_once(tmp_path / "no" / "secret")
