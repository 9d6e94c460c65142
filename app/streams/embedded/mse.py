"""Live pictures over a WebSocket, for a page's own MediaSource: the quickest way to a first frame in a browser.

The server says, as text, what comes next (`init`, `lost`, `skipped`, `bye`, `refused`), and sends as binary messages
an init segment after every `init` and then fragments, each a message. See asyncapi.yaml.
"""

from typing import Any

import orjson

from app.fanout import binary_frame, text_frame
from app.streams.embedded.audience import Audience, cause_of
from app.streams.embedded.boxes import Fragment, Init
from app.streams.embedded.pull import Lost

LATENCY = "low"
# 43xx: come again; 44xx: do not, before something has changed. Refusals close with the code of their kind.
CLOSE_CODES = {
    "behind": (4310, "too slow for this picture; reconnect, or ask for a smaller one"),
    "server_stopped": (4312, "the server restarts; reconnect"),
    "camera_lost": (4320, "the camera gives no picture; reconnect after a pause"),
    "gateway_lost": (4321, "the process that read the camera is gone; reconnect"),
    "moved": (4322, "the camera is carried elsewhere; ask for the URLs again"),
    "changed": (4323, "the camera changed its picture; reconnect"),
    "unvouched": (4353, "permission cannot be checked at the moment; reconnect after a pause"),
    "expired": (4403, "the permission is over; renew it or ask for a new grant"),
    "revoked": (4403, "the permission was withdrawn"),
    "replaced": (4409, "the same URL is played elsewhere"),
    "signed_over": (4409, "another person took over this console"),
    "pre_empted": (4429, "somebody with precedence needs the line"),
}
UNEXPECTED = (1011, "an error of ours; it was logged")  # RFC 6455 §7.4.1


def message(kind: str, **members: Any) -> bytes:
    """One text message's JSON."""
    return orjson.dumps({"type": kind, **members})


class Messages(Audience):
    """Those who watch over a WebSocket: they are told of everything, and take any change of the picture."""

    def opening(self, init: Init) -> bytes:
        said = message(
            "init", mime=f'video/mp4; codecs="{init.codec}"', width=init.width, height=init.height, latency=LATENCY
        )
        return text_frame(said) + binary_frame(init.data)

    def framed(self, fragment: Fragment) -> bytes:
        return binary_frame(fragment.data)

    @staticmethod
    def tell(frames: int, seconds: float) -> bytes:
        return text_frame(message("skipped", frames=frames, seconds=round(seconds, 3)))

    def interrupt(self, lost: Lost) -> None:
        said = text_frame(message("lost", cause=cause_of(lost)))
        for listener in self.listeners.values():
            listener.say(said)

    def resume(self, lost: Lost, before: Init, init: Init) -> None:  # noqa: ARG002 - it does not matter what was
        opening = self.opening(init)
        for listener in self.listeners.values():
            listener.begin(opening)
