"""Settings: frozen, checked, and with a deployment key that is never short, shared or guessed."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings


def test_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    """Of many that find no key, one makes it, and none ever reads half of it."""
    program = f"from app.settings import Settings; print(Settings(home={str(tmp_path)!r}).secret_key.decode())"
    started = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(6)]
    keys = {process.communicate()[0].strip() for process in started}
    assert len(keys) == 1
    assert len(keys.pop()) == 64
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("changeme")
    with pytest.raises(ValueError, match="at least 32 bytes"):
        _ = Settings(home=tmp_path, secret_key_file=tmp_path / "key").secret_key


@pytest.mark.parametrize(
    ("name", "value"),
    [("bind", "8000"), ("bind", "localhost"), ("workers", 0), ("workers", 1000), ("gateway", "none"), ("node", "Über"),
     ("allow_camera_networks", "10.0.0.1/8"), ("allow_webhook_networks", "10.0.0.1/8"), ("session_hours", 0), ("log_level", "loud")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Settings(home=tmp_path, **{name: value})  # type: ignore[arg-type]


def test_settings_do_not_change(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        Settings(home=tmp_path).workers = 3  # type: ignore[misc]
