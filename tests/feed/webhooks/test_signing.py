"""Signatures, secrets and pauses."""

import base64
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.feed.webhooks import signing
from app.keys import Keys
from app.models import Webhook
from tests.feed.webhooks.receiver import verified

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)


def test_the_signature_is_the_one_that_the_specification_shows() -> None:
    """The test vector that the reference libraries share."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signing.signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.binary(max_size=2000), st.uuids())
def test_every_secret_that_signs_is_verified_and_no_other(body: bytes, message_id: object) -> None:
    first, second, other = signing.new_secret(), signing.new_secret(), signing.new_secret()
    headers = signing.headers([first, second], str(message_id), NOW, body)
    assert verified(signing.shown(first), headers, body)
    assert verified(signing.shown(second), headers, body)
    assert not verified(signing.shown(other), headers, body)
    assert not verified(signing.shown(first), headers, body + b" ")
    assert not verified(signing.shown(first), headers | {"webhook-timestamp": "1"}, body)
    assert not verified(signing.shown(first), headers | {"webhook-id": "other"}, body)


def test_a_secret_is_as_long_as_asked_for_and_marked() -> None:
    shown = signing.shown(signing.new_secret())
    assert shown.startswith("whsec_")
    assert 24 <= len(base64.b64decode(shown.removeprefix("whsec_"))) <= 64
    assert shown != signing.shown(signing.new_secret())


def test_what_is_sealed_opens_in_its_own_row_only() -> None:
    keys, name = Keys(b"k" * 32), uuid4()
    secret = signing.new_secret()
    webhook = Webhook(
        id=name, url_sealed=signing.seal_url(keys, name, "https://a.example/"),
        secret_sealed=signing.seal_secret(keys, name, secret),
    )  # fmt: skip
    assert signing.url_of(keys, webhook) == "https://a.example/"
    assert signing.secrets_of(keys, webhook, NOW) == [secret]
    webhook.id = uuid4()
    with pytest.raises(ValueError):
        signing.url_of(keys, webhook)
    with pytest.raises(ValueError):
        signing.secrets_of(keys, webhook, NOW)


def test_the_secret_before_signs_for_a_day() -> None:
    keys, name = Keys(b"k" * 32), uuid4()
    old, new = signing.new_secret(), signing.new_secret()
    webhook = Webhook(
        id=name, secret_sealed=signing.seal_secret(keys, name, new),
        previous_secret_sealed=signing.seal_secret(keys, name, old), previous_until=NOW + signing.ROTATION,
    )  # fmt: skip
    assert signing.secrets_of(keys, webhook, NOW) == [new, old]
    assert signing.secrets_of(keys, webhook, NOW + timedelta(hours=24)) == [new]


@given(st.integers(1, 5000), st.floats(0, 1e9))
def test_pauses_grow_to_an_hour_and_no_further(attempts: int, asked: float) -> None:
    pause = signing.pause_seconds(attempts, asked)
    assert 0.1 <= pause <= 3600
    assert pause >= min(asked, 3600)
    assert signing.pause_seconds(attempts) <= min(3600, 2.0 ** min(attempts - 1, 12))


def test_pauses_are_spread_over_the_whole_range() -> None:
    pauses = [signing.pause_seconds(11) for _ in range(300)]
    assert min(pauses) < 300
    assert max(pauses) > 700
