"""One client's conversation, without any I/O."""

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import Kind
from app.feed.conversation import (
    MOST_REFUSALS,
    Acknowledge,
    Action,
    Authenticate,
    Conversation,
    Leave,
    Refuse,
    Subscribe,
    Unsubscribe,
)
from app.feed.subscriptions import MOST_SUBSCRIPTIONS


def say(conversation: Conversation, **message: object) -> Action:
    return conversation.receive(orjson.dumps(message).decode())


def greeted() -> Conversation:
    conversation = Conversation()
    assert isinstance(say(conversation, type="hello", token="t"), Authenticate)
    return conversation


def test_hello_carries_who_and_where_one_left_off() -> None:
    assert say(Conversation(), type="hello", token="t", after="p") == Authenticate("t", "", "p")
    assert say(Conversation(), type="hello", ticket="k") == Authenticate("", "k", None)


@pytest.mark.parametrize(
    "frame",
    ["", "{", "[]", "null", '"hello"', b"\xff\xfe", '{"type":"hello"}', '{"type":"subscribe","id":"a"}', '{"type":"hello","token":1}',
     '{"type":"hello","token":"t","after":7}', "9" * 70_000, '{"a":' * 2000],
)  # fmt: skip
def test_whoever_does_not_greet_is_sent_away(frame: str | bytes) -> None:
    action = Conversation().receive(frame)
    assert isinstance(action, Leave)
    assert action.refusal.kind in (Kind.ANONYMOUS, Kind.MALFORMED)
    assert 4400 <= action.refusal.kind.close_code < 4500


def test_a_mistake_after_the_greeting_is_told_and_the_conversation_goes_on() -> None:
    conversation = greeted()
    wrong = say(conversation, type="subscribe", id="a", kinds=["no.such"])
    assert isinstance(wrong, Refuse)
    assert wrong.refusal.extra["field"] == "kinds"
    assert isinstance(say(conversation, type="subscribe", id="a", kinds=["bell.pressed", "analytic.*"]), Subscribe)
    assert say(conversation, type="unsubscribe", id="a") == Unsubscribe("a")
    assert isinstance(say(conversation, type="unsubscribe", id="a"), Refuse)


def test_patience_ends() -> None:
    conversation = greeted()
    actions = [say(conversation, type="what") for _ in range(MOST_REFUSALS + 1)]
    assert all(isinstance(action, Refuse) for action in actions[:-1])
    assert isinstance(actions[-1], Leave)


def test_subscriptions_are_counted() -> None:
    conversation = greeted()
    for number in range(MOST_SUBSCRIPTIONS):
        assert isinstance(say(conversation, type="subscribe", id=str(number)), Subscribe)
    assert isinstance(say(conversation, type="subscribe", id="0", min_severity="alarm"), Subscribe), "the same again"
    assert isinstance(say(conversation, type="subscribe", id="one more"), Refuse)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("near", {"lat": 91, "lon": 0, "radius_m": 5}),
        ("near", {"lat": "x"}),
        ("near", {"lat": 1, "lon": 1, "radius_m": -1}),
        ("areas", ["no id"]),
        ("areas", "all"),
        ("min_severity", "loud"),
        ("min_severity", ["alarm"]),
        ("incident_id", "7"),
        ("kinds", {"bell": 1}),
        ("kinds", [["bell.pressed"]]),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object) -> None:
    action = say(greeted(), type="subscribe", id="a", **{field: value})
    assert isinstance(action, Refuse)
    assert action.refusal.extra["field"] == field


def test_an_acknowledgement_names_its_event() -> None:
    conversation = greeted()
    said = say(conversation, type="ack", event_id="01a20504-ecef-73b2-a8ea-a7711cdc3fc8")
    assert isinstance(said, Acknowledge)
    assert isinstance(say(conversation, type="ack", event_id="x"), Refuse)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
fields = st.sampled_from(["type", "id", "token", "after", "kinds", "areas", "near", "event_id", "room", "min_severity"])


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.dictionaries(fields, json_values | st.sampled_from(["hello", "subscribe", "ack"]), max_size=6), max_size=6
    )
)
def test_whatever_is_said_there_is_an_answer(messages: list[dict[str, object]]) -> None:
    conversation = Conversation()
    for message in messages:
        conversation.receive(orjson.dumps(message))
