"""
Frames and operations survive encoding, and everything else is refused.

Rule `bad-messages-are-dropped`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_rooms.protocol.codec import (
    TRACE_LENGTH,
    VERSION,
    BadMessage,
    Codec,
    decode_operation,
    encode_operation,
    is_for,
)
from flask_rooms.protocol.messages import (
    NO_OPTIONS,
    About,
    Acknowledged,
    Answered,
    Ask,
    Change,
    Direct,
    Done,
    Emit,
    Frame,
    Goodbye,
    Heartbeat,
    Options,
    Query,
    Reply,
    Succeeds,
    Tell,
    User,
)
from flask_rooms.protocol.signing import MAX_SIGNATURES
from tests.support import signing

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

MAX_SIZE = 4096

CODEC = Codec(["new", "old"], "channel", MAX_SIZE)

texts = st.text(max_size=20)
numbers = st.integers(0, 2**63 - 1)
rooms = texts | st.integers(-(2**63) + 1, 2**63 - 1)
packets = st.lists(texts | st.binary(max_size=20), max_size=4).map(tuple)


def some(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=4).map(tuple)


audiences = rooms | st.builds(User, texts)
actions = st.sampled_from(["join", "leave", "leave_all", "disconnect", "recheck", "set_data"])
kinds = st.sampled_from(
    ["members", "users", "rooms", "rooms_of", "describe", "count", "statistics"]
)

ages = st.floats(0, allow_infinity=False)
places = st.tuples(numbers, texts)
options = st.builds(
    Options, some(audiences), st.none() | places, st.booleans(), texts, st.none() | ages
)

#: What an application traces with names a call by.
traces = st.just("") | st.text(st.characters(max_codepoint=127), max_size=TRACE_LENGTH)

operations = st.one_of(
    st.builds(
        Change,
        actions,
        texts,
        some(texts),
        some(rooms),
        st.none() | audiences,
        texts,
        st.just(NO_OPTIONS) | options,
        traces,
    ),
    st.builds(Done, texts, numbers, numbers, numbers, some(texts), some(texts), numbers),
    st.builds(Query, kinds, texts, st.none() | audiences),
    st.builds(Reply, texts, numbers, some(rooms), some(numbers), st.booleans()),
    st.builds(
        Emit,
        texts,
        packets,
        st.none() | some(audiences),
        some(texts),
        numbers,
        some(audiences),
        st.booleans(),
        traces,
    ),
    st.builds(Acknowledged, texts, numbers, packets),
    st.builds(
        Ask, numbers, texts, packets, st.none() | some(audiences), some(audiences), ages, traces
    ),
    st.builds(Answered, texts, numbers, some(st.tuples(texts, packets)), some(texts), some(texts)),
    st.builds(Tell, texts, packets, traces),
    st.builds(Succeeds, texts, some(st.tuples(numbers, st.binary(max_size=20)))),
    st.just(Goodbye()),
)
abouts = st.builds(About, texts, numbers, texts, ages)
heartbeats = st.builds(
    Heartbeat,
    *(numbers, numbers, ages, numbers, st.booleans(), some(texts)),
    st.none() | abouts,
)
directs = st.builds(
    Direct,
    *(numbers, numbers, numbers, some(operations.map(encode_operation)), numbers),
    *(numbers, numbers, st.booleans(), st.booleans()),
    *(st.none() | st.tuples(numbers, numbers), numbers, st.booleans(), st.none() | some(texts)),
)
frames = st.builds(
    Frame,
    texts,
    numbers,
    some(operations.map(encode_operation)),
    st.none() | heartbeats,
    texts,
    st.none() | directs,
)

#: Anything that msgpack can express.
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | texts
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)

frequently = settings(max_examples=100, deadline=None)


def signed(body: Any, key: str = "new", channel: str = "channel") -> bytes:
    """Return *body* as signed by a hostile worker that has the key."""
    packed: bytes = body if isinstance(body, bytes) else msgpack.packb(body)
    return signing.signed(packed, key, channel)


def refused(payload: bytes) -> str:
    """Return the reason for which *payload* is refused."""
    with pytest.raises(BadMessage) as caught:
        CODEC.decode(payload)
    return caught.value.reason


def tried(decode: Callable[[bytes], Any], data: bytes) -> Any:
    """Return what *decode* returns for *data*, or its reason to refuse it."""
    try:
        return decode(data)
    except BadMessage as error:
        return error.reason


@pytest.mark.slow
@frequently
@given(operations)
def test_an_operation_survives_encoding(operation: Any) -> None:
    assert decode_operation(encode_operation(operation)) == operation


OWNER, OTHER = "a2b3c4d5e6f7g2h3", "q2r3s4t5u6v7w2x3"
SID = f"{OWNER}_abcdefghijklmnopqrstuvwx"


@pytest.mark.parametrize(
    "operation",
    [
        Change("leave", "/", (f"third_{SID}", SID), ("room",)),
        Change("join", "/", (SID,), ("room",), options=Options(expires=1.0), trace="t"),
        Emit("/", ("2",), (SID,), (), 0),
        Ask(1, "/", ("2",), (SID,), (), 1.0, "t"),
        Query("rooms_of", "/", SID),
        Query("describe", "/", SID),
    ],
    ids=str,
)
def test_an_operation_for_owners_of_sockets_is_for_no_other_worker(operation: Any) -> None:
    """Rule `others-skip`."""
    data = encode_operation(operation)

    assert is_for(OWNER, data)
    assert not is_for(OTHER, data)


@pytest.mark.parametrize(
    "operation",
    [
        Change("leave", "/", (), ("room",), source=SID),
        Change("leave", "/", (), ("room",), source=User(SID)),
        Emit("/", ("2",), None, (SID,), 0),
        Emit("/", ("2",), (SID, "room"), (), 0),
        Emit("/", ("2",), (SID, User(SID)), (), 0),
        Emit("/", ("2",), (SID, 42), (), 0, trace="t"),
        Ask(1, "/", ("2",), ("room",), (), 1.0),
        Query("members", "/", SID),
        Query("count", "/", None),
        Tell(SID, ("2",)),
        Done(OWNER, 1, 1, 0, (SID,)),
        Goodbye(),
    ],
    ids=str,
)
def test_any_other_operation_may_concern_every_worker(operation: Any) -> None:
    """Rule `others-skip`."""
    assert is_for(OTHER, encode_operation(operation))


@frequently
@given(frames)
def test_a_frame_survives_encoding(frame: Frame) -> None:
    codec = Codec(["key"], "channel", 2**20)

    assert codec.decode(codec.encode(frame)) == frame


@frequently
@given(st.binary(max_size=300))
def test_random_bytes_are_unsigned(payload: bytes) -> None:
    assert refused(payload) == "unsigned"


@frequently
@given(frames, st.data())
def test_a_truncated_frame_is_unsigned(frame: Frame, data: st.DataObject) -> None:
    payload = CODEC.encode(frame)

    length = data.draw(st.integers(0, len(payload) - 1))

    assert refused(payload[:length]) == "unsigned"


@frequently
@given(frames, st.data())
def test_a_flipped_bit_never_changes_a_frame(frame: Frame, data: st.DataObject) -> None:
    payload = bytearray(CODEC.encode(frame))
    bit = data.draw(st.integers(0, 8 * len(payload) - 1))
    payload[bit // 8] ^= 1 << bit % 8

    # One of the two signatures is enough.
    assert tried(CODEC.decode, bytes(payload)) in (frame, "unsigned")


@pytest.mark.parametrize(
    ("keys", "channel"),
    [(["foreign"], "channel"), (["new"], "channel2"), (["new"], ""), ([b"\x00new"], "channel")],
)
def test_a_frame_of_another_key_or_channel_is_unsigned(keys: list[str], channel: str) -> None:
    payload = Codec(keys, channel, MAX_SIZE).encode(Frame("worker", 1))

    assert refused(payload) == "unsigned"


def test_a_frame_may_have_its_maximum_size_and_no_byte_more() -> None:
    def padded(size: int) -> bytes:
        empty = len(Codec(["new", "old"], "channel", size).encode(Frame("", 1, (bytes(300),))))
        return CODEC.encode(Frame("", 1, (bytes(300 + size - empty),)))

    assert len(padded(MAX_SIZE)) == MAX_SIZE
    assert CODEC.decode(padded(MAX_SIZE)).first == 1
    assert refused(padded(MAX_SIZE + 1)) == "oversized"
    assert refused(bytes(MAX_SIZE + 1)) == "oversized"


def test_while_keys_rotate_old_and_new_workers_decode_each_other() -> None:
    """Rule `each-key-signs`."""
    frame = Frame("worker", 1)
    old, new = Codec(["old"], "channel", MAX_SIZE), Codec(["new"], "channel", MAX_SIZE)

    assert CODEC.decode(old.encode(frame)) == frame
    assert old.decode(CODEC.encode(frame)) == frame
    assert CODEC.decode(new.encode(frame)) == frame
    assert new.decode(CODEC.encode(frame)) == frame
    with pytest.raises(BadMessage):
        old.decode(new.encode(frame))


def test_of_very_many_keys_the_newest_sign_and_all_are_accepted() -> None:
    frame = Frame("worker", 1)
    keys = [f"key {number}" for number in range(MAX_SIGNATURES + 2)]
    codec = Codec(keys, "channel", MAX_SIZE)
    newest, oldest = (Codec([key], "channel", MAX_SIZE) for key in (keys[0], keys[-1]))

    assert newest.decode(codec.encode(frame)) == frame
    assert codec.decode(oldest.encode(frame)) == frame
    with pytest.raises(BadMessage):
        oldest.decode(codec.encode(frame))


def test_a_key_that_is_given_twice_signs_once() -> None:
    twice, once = (Codec(keys, "channel", MAX_SIZE) for keys in (["new", "new"], ["new"]))

    assert twice.encode(Frame("worker", 1)) == once.encode(Frame("worker", 1))


@pytest.mark.parametrize("payload", [b"", b"\0", b"\0" + bytes(99), b"\x01", b"\xff" * 9000])
def test_a_payload_without_its_signatures_is_unsigned(payload: bytes) -> None:
    assert tried(Codec(["new"], "channel", 2**20).decode, payload) == "unsigned"


@frequently
@given(anything)
def test_anything_signed_is_a_frame_or_refused(body: Any) -> None:
    result = tried(CODEC.decode, signed(body))

    assert isinstance(result, Frame) or result in ("malformed", "version")


@frequently
@given(st.lists(anything, min_size=1, max_size=6))
def test_anything_in_a_signed_frame_is_well_formed_or_refused(fields: list[Any]) -> None:
    result = tried(CODEC.decode, signed([VERSION, *fields]))

    assert result == "malformed" or CODEC.decode(CODEC.encode(result)) == result


@frequently
@given(st.integers(1, 14), st.lists(anything, max_size=6))
def test_anything_in_an_operation_is_well_formed_or_refused(code: int, fields: list[Any]) -> None:
    result = tried(decode_operation, msgpack.packb([code, *fields]))

    assert result in ("malformed", None) or decode_operation(encode_operation(result)) == result


@frequently
@given(st.binary(max_size=100))
def test_random_bytes_as_an_operation_are_refused_or_of_a_later_version(data: bytes) -> None:
    result = tried(decode_operation, data)

    assert result in ("malformed", None) or decode_operation(encode_operation(result)) == result


@pytest.mark.parametrize("version", [0, VERSION + 1, "1", None, True, 1.0, -1, [1]])
def test_a_frame_of_another_version_is_refused_as_such(version: Any) -> None:
    assert refused(signed([version, "worker", "", 1, [], None, None])) == "version"


#: Beat, oldest, age and view; whether it asks, those counted as dead, and where it runs.
GOOD_BEAT = [1, 1, 0.5, 7, False, ["other"], ["host", 5, "1.0", 2.0]]
#: Serial, oldest, first, answers, expects, start, view, reports, probes, nack, vouches_for,
#: wants_names, names and heard.
GOOD_DIRECT = [1, 1, 1, [], 1, 1, 7, False, False, None, 0, False, ["other"], 1]


def test_what_the_malformed_ones_differ_from_is_well_formed() -> None:
    for beat, direct in [(GOOD_BEAT, None), (GOOD_BEAT[:4], None), (None, GOOD_DIRECT)]:
        assert CODEC.decode(signed([VERSION, "worker", "", 1, [], beat, direct])).sender == "worker"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc1", id="not msgpack"),
        pytest.param(b"\x91" * 3000, id="deep nesting"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="a list that claims 4 billion items"),
        pytest.param(msgpack.packb([VERSION]) + b"\x00", id="more after the end"),
        pytest.param([], id="empty"),
        pytest.param({"version": VERSION}, id="a dict"),
        pytest.param(None, id="nil"),
        pytest.param([VERSION, "worker", "", 1, [], None], id="a field too few"),
        pytest.param([VERSION, b"worker", "", 1, [], None, None], id="sender in bytes"),
        pytest.param([VERSION, None, "", 1, [], None, None], id="no sender"),
        pytest.param([VERSION, "worker", "", -1, [], None, None], id="a negative number"),
        pytest.param(
            [VERSION, "worker", "", 2**63, [], None, None], id="more than a stream can have"
        ),
        pytest.param([VERSION, "worker", "", True, [], None, None], id="a bool for a number"),
        pytest.param([VERSION, "worker", "", 1.0, [], None, None], id="a float for a number"),
        pytest.param([VERSION, "worker", "", "1", [], None, None], id="a string for a number"),
        pytest.param([VERSION, "worker", "", 1, b"", None, None], id="bytes for operations"),
        pytest.param([VERSION, "worker", "", 1, ["text"], None, None], id="an operation in text"),
        pytest.param([VERSION, "worker", "", 1, [[7]], None, None], id="an operation not encoded"),
        pytest.param([VERSION, "worker", "", 1, [], [], None], id="an empty heartbeat"),
        *[
            pytest.param([VERSION, "worker", "", 1, [], beat, None], id=f"heartbeat: {what}")
            for what, beat in {
                "too short": GOOD_BEAT[:3],
                "a negative number": [-1, *GOOD_BEAT[1:]],
                "a name for a view": [*GOOD_BEAT[:3], "other", *GOOD_BEAT[4:]],
                "a view too large": [*GOOD_BEAT[:3], 2**63, *GOOD_BEAT[4:]],
                "a number for a bool": [*GOOD_BEAT[:4], 1, *GOOD_BEAT[5:]],
                "a name for the dead": [*GOOD_BEAT[:5], "other", *GOOD_BEAT[6:]],
                "bytes for a name": [*GOOD_BEAT[:5], [b"other"], *GOOD_BEAT[6:]],
                "text for where it runs": [*GOOD_BEAT[:6], "host"],
            }.items()
        ],
        *[
            pytest.param(
                [VERSION, "worker", "", 1, [], [1, 1, age, *GOOD_BEAT[3:]], None],
                id=f"age {age}",
            )
            for age in (-1.0, math.nan, math.inf, -math.inf, True, "1.0", None)
        ],
        pytest.param([VERSION, "worker", "", 1, [], False, None], id="false for a heartbeat"),
        pytest.param([VERSION, "worker", None, 1, [], None, None], id="nil for an address"),
        *[
            pytest.param([VERSION, "worker", "me", 1, [], None, direct], id=f"direct: {what}")
            for what, direct in {
                "false": False,
                "a field too few": GOOD_DIRECT[:6],
                "a negative serial": [-1, *GOOD_DIRECT[1:]],
                "text for answers": [*GOOD_DIRECT[:3], "text", *GOOD_DIRECT[4:]],
                "an answer in text": [*GOOD_DIRECT[:3], ["text"], *GOOD_DIRECT[4:]],
                "a negative start": [*GOOD_DIRECT[:5], -1, *GOOD_DIRECT[6:]],
                "nil for a view": [*GOOD_DIRECT[:6], None, *GOOD_DIRECT[7:]],
                "a number for a bool": [*GOOD_DIRECT[:7], 1, *GOOD_DIRECT[8:]],
                "half a range": [*GOOD_DIRECT[:9], [1], *GOOD_DIRECT[10:]],
                "a range of text": [*GOOD_DIRECT[:9], ["1", 2], *GOOD_DIRECT[10:]],
                "a bool for a number": [*GOOD_DIRECT[:10], True, *GOOD_DIRECT[11:]],
                "a number for names": [*GOOD_DIRECT[:12], 5, 1],
                "bytes for a name": [*GOOD_DIRECT[:12], [b"other"], 1],
            }.items()
        ],
        pytest.param([VERSION, msgpack.Timestamp(1), "", 1, [], None, None], id="a timestamp"),
        pytest.param([VERSION, msgpack.ExtType(5, b""), "", 1, [], None, None], id="an extension"),
    ],
)
def test_a_signed_body_of_another_form_is_malformed(body: Any) -> None:
    assert refused(signed(body)) == "malformed"


@pytest.mark.parametrize(
    "about",
    [["host", 1, "1.0"], [b"host", 1, "1.0", 2.0], ["host", -1, "1.0", 2.0]],
    ids=["too short", "bytes", "a negative number"],
)
def test_a_worker_that_tells_nonsense_about_itself_is_malformed(about: Any) -> None:
    beat = [*GOOD_BEAT[:-1], about]

    assert refused(signed([VERSION, "worker", "", 1, [], beat, None])) == "malformed"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([1, "kick", "/", [], [], None], id="an unknown action"),
        pytest.param([1, "join", None, [], [], None], id="no namespace"),
        pytest.param([1, "join", "/", "sid", [], None], id="a string for IDs"),
        pytest.param([1, "join", "/", [1], [], None], id="a number for an ID"),
        pytest.param([1, "join", "/", [], [True], None], id="a bool for a room"),
        pytest.param([1, "join", "/", [], [None], None], id="nil for a room"),
        pytest.param([1, "join", "/", [], [b"red"], None], id="bytes for a room"),
        pytest.param([1, "join", "/", [], []], id="a field too few"),
        pytest.param([2, "worker", -1, 0, 0, []], id="a negative number"),
        pytest.param([2, "worker", True, 0, 0, []], id="a bool for a number"),
        pytest.param([3, "/", ["packet"], [], [], None], id="no acknowledgement"),
        pytest.param([3, "/", [1], [], [], 0], id="a number in a packet"),
        pytest.param([3, "/", "packet", [], [], 0], id="a packet in text"),
        pytest.param([4, "worker", 1, None], id="no packet"),
        pytest.param([1, "join", "/", [], [["user"]], None], id="a user for a room to join"),
        pytest.param([1, "leave", "/", [], [], []], id="a user without an ID"),
        pytest.param([1, "leave", "/", [], [], [1]], id="a number for a user"),
        pytest.param([1, "leave", "/", [], [], ["a", "b"]], id="two users in one"),
        pytest.param([6, "whereabouts", "/", None], id="an unknown query"),
        pytest.param([6, "members", "/", {}], id="a dict for a room"),
        pytest.param([6], id="nothing"),
        pytest.param([7, "worker", 1, [], [-1], True], id="a negative count"),
        pytest.param([7, "worker", 1, [["user"]], [], True], id="a user for a name"),
        pytest.param([7, "worker", 1, [], [], 1], id="a number for a bool"),
        pytest.param([True], id="a bool for a code"),
        pytest.param(["7"], id="a string for a code"),
        pytest.param([None], id="no code"),
        pytest.param([], id="empty"),
        pytest.param({"code": 7}, id="a dict"),
    ],
)
def test_a_hostile_operation_is_malformed(fields: Any) -> None:
    with pytest.raises(BadMessage, match="malformed"):
        decode_operation(msgpack.packb(fields))


FOR_OWNERS = b"\xc0"
LEAVE = msgpack.packb([1, "leave", "/", [], ["red"], None, ""])


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(["00-5-6-01"], id="no operation"),
        pytest.param(["", LEAVE], id="an empty one"),
        pytest.param(["x" * (TRACE_LENGTH + 1), LEAVE], id="one that is too long"),
        pytest.param(["\u00e9", LEAVE], id="one that is longer in bytes"),
        pytest.param([b"00-5-6-01", LEAVE], id="one in bytes"),
        pytest.param([None, LEAVE], id="none"),
        pytest.param(["00-5-6-01", "text"], id="text for the operation"),
        pytest.param(["00-5-6-01", b""], id="an empty operation"),
        pytest.param(["00-5-6-01", msgpack.packb([5])], id="an operation that has none"),
        pytest.param(["00-5-6-01", msgpack.packb([14, "00-5-6-01", LEAVE])], id="a trace in it"),
        pytest.param(["00-5-6-01", msgpack.packb([[14]])], id="a list for a code"),
    ],
)
def test_a_hostile_trace_is_malformed(fields: list[Any]) -> None:
    with pytest.raises(BadMessage, match="malformed"):
        decode_operation(msgpack.packb([14, *fields]))


def test_a_trace_of_an_operation_that_only_a_later_version_knows_goes_with_it() -> None:
    assert decode_operation(msgpack.packb([14, "00-5-6-01", msgpack.packb([1000])])) is None


def test_an_operation_without_a_trace_is_encoded_as_ever() -> None:
    assert encode_operation(Change("leave", "/", (), ("red",))) == FOR_OWNERS + LEAVE


@pytest.mark.parametrize("code", [0, -1, 1000, 2**64 - 1])
def test_an_operation_that_only_a_later_version_knows_is_none(code: int) -> None:
    assert decode_operation(msgpack.packb([code, "what", {"ever": 1}])) is None


@pytest.mark.parametrize(
    "operation",
    [
        Change("leave", "/", (), ("red",), User("ann"), "", Options(omit=("blue",))),
        Change("disconnect", "/", (), (), User("ann"), "", Options(older_than=(5, "sid"))),
        Emit("/", ("x",), ("red",), (), 0, ("blue",)),
    ],
)
def test_a_version_that_would_ignore_a_condition_skips_the_operation(operation: Any) -> None:
    """Else it would, for example, disconnect the newest socket of a user as well."""
    fields = msgpack.unpackb(encode_operation(operation))

    assert fields[0] not in (1, 3)


def test_a_change_with_an_option_that_only_a_later_version_knows_is_malformed() -> None:
    change = Change("leave", "/", (), ("red",), User("ann"), "", Options(omit=("blue",)))
    fields = msgpack.unpackb(encode_operation(change))
    fields[-1]["later"] = True

    with pytest.raises(BadMessage, match="malformed"):
        decode_operation(msgpack.packb(fields))


@given(operations)
@settings(deadline=None)
def test_fields_that_a_later_version_added_to_an_operation_are_ignored(operation: Any) -> None:
    data = encode_operation(operation)
    fields = msgpack.unpackb(data.removeprefix(FOR_OWNERS))

    later: bytes = msgpack.packb([*fields, "later", {"x": 1}])
    assert decode_operation(later) == operation
    assert decode_operation(FOR_OWNERS + later) == operation


def test_fields_that_a_later_version_added_to_a_frame_are_ignored() -> None:
    about = ["host", 5, "1.0", 6.0, "later"]
    beat = [1, 2, 1.5, 3, True, ["other"], about, "later"]
    direct = [1, 2, 3, [b"x"], 4, 5, 6, True, False, [7, 8], 9, True, ["a", "b"], 10, "later"]

    frame = CODEC.decode(signed([VERSION, "worker", "me", 6, [], beat, direct, "later"]))

    expected = Heartbeat(1, 2, 1.5, 3, True, ("other",), About("host", 5, "1.0", 6.0))
    alone = Direct(1, 2, 3, (b"x",), 4, 5, 6, True, False, (7, 8), 9, True, ("a", "b"), 10)
    assert frame == Frame("worker", 6, (), expected, "me", alone)


def test_keys_may_be_bytes_or_text() -> None:
    frame = Frame("worker", 1)

    assert Codec([b"key"], "c", 99).decode(Codec(["key"], "c", 99).encode(frame)) == frame


class Text(str):
    __slots__ = ()


class Raw(bytes):
    __slots__ = ()


class Whole(int):
    __slots__ = ()


class Real(float):
    __slots__ = ()


def test_what_is_of_a_subclass_travels_as_what_it_is_made_of() -> None:
    """Such as the members of an enumeration, Markup, or the numbers of NumPy."""
    own = Ask(
        Whole(1),
        Text("/"),
        (Text("2"), Raw(b"x")),
        (Whole(42), Text("red"), User(Text("ann"))),
        (),
        Real(1.5),
    )

    plain = Ask(1, "/", ("2", b"x"), (42, "red", User("ann")), (), 1.5)
    assert encode_operation(own) == encode_operation(plain)


def test_a_dict_as_a_key_is_malformed() -> None:
    """msgspec raises TypeError for it before version 0.23."""
    hostile = b"\x81\x80\x01"  # {{}: 1}
    for data in (b"\x92\x63" + hostile, b"\x96\x03\xa1/\x91" + hostile + b"\x90\x90\x00"):
        assert tried(decode_operation, data) == "malformed"
    for version in (VERSION, VERSION + 1):
        assert tried(CODEC.decode, signed(bytes((0x92, version)) + hostile)) == "malformed"


def test_a_message_holds_nothing_but_data() -> None:
    """A message cannot name code to run, even if its sender has the key."""
    with pytest.raises(TypeError):
        encode_operation(Emit("/", (print,), None, (), 0))  # type: ignore[arg-type]
