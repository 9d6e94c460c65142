"""Signatures of Standard Webhooks (standardwebhooks.com, specification 1.0), and when a message is tried again."""

import base64
import hmac
import random
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from app.keys import Keys
from app.models import Webhook

SECRET_PREFIX = "whsec_"  # noqa: S105 - marks a secret as ours, so that it can be found where it should not be
SECRET_BYTES = 32  # the specification asks for 24 to 64
ROTATION = timedelta(hours=24)  # for so long the secret before signs too
GIVEN_UP_AFTER = timedelta(hours=24)
MOST_WAIT_SECONDS = 3600.0

_URL_KEY, _SECRET_KEY = "webhook-url", "webhook-secret"


def new_secret() -> bytes:
    """A fresh signing secret."""
    return secrets.token_bytes(SECRET_BYTES)


def shown(secret: bytes) -> str:
    """A secret as its receiver keeps it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def seal_secret(keys: Keys, webhook_id: object, secret: bytes) -> bytes:
    """A secret as it is stored; it opens in this webhook's row only."""
    return keys.seal(_SECRET_KEY, secret, str(webhook_id).encode())


def seal_url(keys: Keys, webhook_id: object, url: str) -> bytes:
    """An address as it is stored; it opens in this webhook's row only."""
    return keys.seal(_URL_KEY, url.encode(), str(webhook_id).encode())


def url_of(keys: Keys, webhook: Webhook) -> str:
    """Where to post. ValueError when it was sealed with another deployment key."""
    return keys.unseal(_URL_KEY, webhook.url_sealed, str(webhook.id).encode()).decode()


def secrets_of(keys: Keys, webhook: Webhook, now: datetime) -> list[bytes]:
    """The secrets that sign at this moment, newest first. ValueError as `url_of`."""
    context = str(webhook.id).encode()
    found = [keys.unseal(_SECRET_KEY, webhook.secret_sealed, context)]
    if webhook.previous_secret_sealed and webhook.previous_until and webhook.previous_until > now:
        found.append(keys.unseal(_SECRET_KEY, webhook.previous_secret_sealed, context))
    return found


def signature(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over "id.timestamp.body"."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()


def headers(signing: Iterable[bytes], message_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """What goes with a body: one signature for each secret, separated by a space."""
    timestamp = int(now.timestamp())
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(secret, message_id, timestamp, body) for secret in signing),
    }


def pause_seconds(attempts: int, asked_seconds: float = 0.0) -> float:
    """How long to wait after so many failed attempts: full jitter up to 1, 2, 4 … 3600 s, or what was asked for."""
    most = min(MOST_WAIT_SECONDS, 2.0 ** min(attempts - 1, 12))
    return max(random.uniform(0.1, most), min(asked_seconds, MOST_WAIT_SECONDS))  # noqa: S311 - jitter is no secret
