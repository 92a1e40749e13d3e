"""Whatever comes over the wire is answered, and the worker goes on: raw frames of real clients."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_rooms.membership.names import NAMESPACE_LENGTH
from flask_rooms.server.decoding import BEFORE_CONNECT_BYTES
from flask_rooms.server.packet_class import ATTACHMENT_BYTES, ATTACHMENTS
from flask_rooms.socket_requests.handler import VERBS
from flask_rooms.socket_requests.payload import DEPTH
from tests.support.raw import RawClient
from tests.support.raw_polling import PollingClient
from tests.support.requests_app import CONTENT, MESSAGE
from tests.support.workers import Worker, cluster


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with cluster("memory://", 1, "tests.support.requests_app") as (worker,):
        yield worker


@pytest.fixture
def client(worker: Worker) -> Iterator[RawClient]:
    with RawClient(worker.url) as client:
        yield client


def goes_on(client: RawClient) -> bool:
    """Whether the socket still serves requests."""
    return bool(client.request("put", "/echo", "still")["body"]["json"] == "still")


def refusals(client: RawClient, limit: str) -> int:
    """Return how often clients of the worker have reached a limit."""
    return int(client.request("get", "/refusals")["body"].get(limit, 0))


def refused(answer: Any) -> bool:
    """Whether this is how what cannot be served is acknowledged."""
    body, status = answer["body"], answer["statusCode"]
    return bool(400 <= status < 500 and body["message"] and "Traceback" not in body["message"])


# -- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [None, 0, 1, -1.5, "", "text", "é世\U0001f600", False, True, [], [1, [None]], {}, {"a": {}}],
)
def test_values_keep_their_types_both_ways(client: RawClient, value: Any) -> None:
    answer = client.request("put", "/mirror", value)

    assert answer["statusCode"] == 200
    assert answer["body"] == value
    assert type(answer["body"]) is type(value)


def test_bytes_stay_bytes_both_ways(client: RawClient) -> None:
    client.send('451-77["put",{"url":"/mirror","data":{"_placeholder":true,"num":0}}]')
    client.send(b"\x00\xff")

    head = client.receive()
    assert head.startswith("461-77[")
    assert json.loads(head[len("461-77") :])[0]["body"] == {"_placeholder": True, "num": 0}
    assert client.receive_binary() == b"\x00\xff"


def test_a_placeholder_in_text_is_an_object_as_any_other(client: RawClient) -> None:
    data = {"_placeholder": True, "num": 0}

    assert client.request("put", "/mirror", data)["body"] == data


# -- packets ----------------------------------------------------------------------------------

DEEP = "[" * 200_000 + "]" * 200_000

# What cannot be decoded, of a request with the ID 7.
UNREADABLE = [
    '7["get"',
    '7["get",',
    '7["get",{"url":"/echo"}',
    '7["get",{url:"/echo"}]',
    '7["get",{"url":"/echo"}]]',
    '7["get",{"url":"/echo"}] ["get"]',
    f'7["put",{{"url":"/echo","data":{DEEP}}}]',
    f'7["put",{{"url":"/echo","data":{DEEP[:200_000]}}}]',
    '7["put",{"url":"/echo","data":' + "9" * 10_000 + "}]",
    '7["put",{"url":"/echo","data":"\x00"}]',
    '7["put",{"url":"/echo","data":"\\u12"}]',
    '7["put",{"url":"/echo","data":.5}]',
]


@pytest.mark.parametrize("frame", UNREADABLE, ids=range(len(UNREADABLE)))
def test_a_request_that_is_not_json_is_refused(client: RawClient, frame: str) -> None:
    client.send("42" + frame)

    assert refused(client.answer(7))
    assert goes_on(client)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ("NaN", 400),
        ("-Infinity", 400),
        ("[NaN]", 400),
        ("1e999", 400),
        ("[" * 99 + "]" * 99, 200),
        ("[" * (DEPTH + 1) + "]" * (DEPTH + 1), 413),
        ('{"a":' * (DEPTH + 1) + "1" + "}" * (DEPTH + 1), 413),
        ('"\\ud800"', 200),
        ('{"a":1,"a":2}', 200),
        ('"' + "x" * CONTENT + '"', 413),
        ('"' + "x" * (10 * 2**20) + '"', 413),
    ],
)
def test_json_that_is_strange_or_large(client: RawClient, data: str, status: int) -> None:
    client.send(f'427["put",{{"url":"/echo","data":{data}}}]')

    answer = client.answer(7)
    assert answer["statusCode"] == status
    assert status == 200 or "Traceback" not in str(answer)
    assert goes_on(client)


@pytest.mark.parametrize(
    "arguments",
    [
        *["", ",null", ",1", ',"/echo"', ",[]", ",{}", ',["/echo"]', ",true", ",{},{}"],
        *[',{"url":null}', ',{"url":1}', ',{"url":[]}', ',{"url":{}}', ',{"url":""}'],
        *[',{"URL":"/echo"}', ',{"url":"/echo"},1', ',1,{"url":"/echo"}', ',{"__proto__":{}}'],
        *[',{"url":"/echo","headers":1}', ',{"url":"/echo","headers":{"X":null}}'],
        *[',{"url":"http://x/"}', ',{"url":"/x\\r\\nY: z"}', ',{"url":"\\ud800"}'],
    ],
)
@pytest.mark.parametrize("verb", VERBS)
def test_a_request_of_the_wrong_form_is_refused(
    worker: Worker, client: RawClient, verb: str, arguments: str
) -> None:
    client.send(f'427["{verb}"{arguments}]')
    assert refused(client.answer(7))

    client.send(f'42["{verb}"{arguments}]')
    kind, error = json.loads(client.receive()[2:])
    assert kind == "sails:parseError"
    assert error["status"] == 400
    assert sorted(error) == ["code", "message", "status"]


@pytest.mark.parametrize("name", ["1", "null", "{}", "[]", "true", "1.5", '["get"]'])
def test_an_event_has_a_name(client: RawClient, name: str) -> None:
    client.send(f'427[{name},{{"url":"/echo"}}]')

    assert refused(client.answer(7))


@pytest.mark.parametrize("data", ["", "[]", "{}", '{"get":{}}', '"get"', "null"])
def test_an_event_is_a_list_that_begins_with_it(client: RawClient, data: str) -> None:
    client.send(f"427{data}")

    assert refused(client.answer(7))


# These have no acknowledgement to answer.
NOISE = [
    *["42", "42[]", "42{}", "42null", "421", '42"get"', "42[1]", "42[", "42[[]]", '42["get"'],
    *["4", "40", "41/nowhere,", "43", "431", "43[]", '437["x"]', "44", "45", "46", "47", "4x"],
    *['42/nowhere,7["get",{"url":"/echo"}]', "42/,", "42//", '42/a?b,["get"]', "42,,,", "42-"],
    *['459999999999-["get"]', '45x-["get"]', '450-["get"]', '45-1["get"]', "4" + "2" * 300],
    *["42" + "9" * 101 + '["get",{}]', '42\x00["get"]', "4é", "4\ud83d\ude00"[:1], "6", "3", "5"],
]


@pytest.mark.parametrize("frame", NOISE)
def test_noise_ends_a_connection_at_most(worker: Worker, frame: str) -> None:
    with RawClient(worker.url) as other, RawClient(worker.url) as client:
        client.send(frame)
        assert client.survives() in (True, False)

        assert goes_on(other)


@pytest.mark.parametrize("frame", NOISE[:10])
def test_noise_of_socket_io_ends_nothing(client: RawClient, frame: str) -> None:
    client.send(frame)

    assert goes_on(client)


@pytest.mark.parametrize(
    "frame", [b"\xff", b"\xc3(", b'42["get",{"url":"/\xff"}]', b"4\xed\xa0\x80"]
)
def test_what_is_not_utf_8_ends_its_own_connection(worker: Worker, frame: bytes) -> None:
    with RawClient(worker.url) as other, RawClient(worker.url) as client:
        client.send_as_text(frame)
        client.survives()

        assert goes_on(other)


def test_a_message_that_is_too_large_ends_its_own_connection(worker: Worker) -> None:
    with RawClient(worker.url) as other, RawClient(worker.url) as client:
        client.try_to_send('427["put",{"url":"/echo","data":"' + "x" * MESSAGE + '"}]')
        assert not client.survives()

        assert goes_on(other)


# -- binary -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "placeholder",
    [
        *['"num":1', '"num":-2', '"num":"0"', '"num":null', '"num":1.0', '"num":[]', '"num":1e9'],
        *['"num":{}'],
    ],
)
def test_a_placeholder_for_nothing_is_refused(client: RawClient, placeholder: str) -> None:
    client.send(f'451-7["put",{{"url":"/echo","data":{{"_placeholder":true,{placeholder}}}}}]')
    client.send(b"bytes")

    assert refused(client.answer(7))
    assert goes_on(client)


@pytest.mark.parametrize(
    "data", ["{}", '{"x":{"_placeholder":true,"num":0}}', '[{"_placeholder":true,"num":0}]']
)
@pytest.mark.parametrize("verb", VERBS)
def test_bytes_inside_of_json_are_refused(client: RawClient, verb: str, data: str) -> None:
    client.send(f'451-7["{verb}",{{"url":"/echo","data":{data}}}]')
    client.send(b"bytes")

    answer = client.answer(7)
    assert answer["statusCode"] in ((200, 405) if data == "{}" else (400,))
    assert goes_on(client)


@pytest.mark.parametrize("field", ['"url"', '"headers"', '"x"'])
def test_bytes_where_text_belongs_are_refused(client: RawClient, field: str) -> None:
    client.send(f'451-7["get",{{"url":"/echo",{field}:{{"_placeholder":true,"num":0}}}}]')
    client.send(b"bytes")

    answer = client.answer(7)
    assert refused(answer) is (field != '"x"')
    assert goes_on(client)


def test_text_where_bytes_belong_is_no_end(client: RawClient) -> None:
    client.send('451-7["put",{"url":"/mirror","data":{"_placeholder":true,"num":0}}]')
    client.send('42["get"]')

    assert refused(client.answer(7))
    assert goes_on(client)


def test_bytes_out_of_nowhere_are_no_end(client: RawClient) -> None:
    for frame in (b"bytes", b"", b"2", b'2["get"]', b"\x00" * 1000):
        client.send(frame)

    assert goes_on(client)


def test_pieces_are_bounded_in_number(worker: Worker) -> None:
    with RawClient(worker.url) as client:
        client.send(f'45{ATTACHMENTS + 1}-7["put",{{"url":"/echo"}}]')

        assert client.answer(7)["statusCode"] == 413
        assert not client.survives()


def test_pieces_are_bounded_in_size(worker: Worker) -> None:
    with RawClient(worker.url) as client:
        client.send('45100-7["put",{"url":"/echo"}]')
        for _ in range(2):
            client.send(b"x" * (ATTACHMENT_BYTES // 2 + 1))

        assert client.answer(7)["statusCode"] == 413
        assert not client.survives()


@pytest.mark.parametrize("event", ["put", "echo", "nothing"])
def test_an_attachment_stands_in_one_place(client: RawClient, event: str) -> None:
    """An echo of this would be as many times larger as there are placeholders."""
    places = ",".join(['{"_placeholder":true,"num":0}'] * 300)
    before = refusals(client, "malformed_packets")
    client.send(f'451-7["{event}",{{"url":"/echo","data":[{places}]}}]')
    client.send(b"bytes")

    if event == "put":
        assert client.answer(7)["statusCode"] == 400
    assert refusals(client, "malformed_packets") == before + 1


def test_each_attachment_comes_back_in_its_place(client: RawClient) -> None:
    client.send('452-7["echo",{"_placeholder":true,"num":1},[{"_placeholder":true,"num":0}]]')
    client.send(b"first")
    client.send(b"second")

    assert client.receive().startswith("462-7[")
    assert [client.receive_binary(), client.receive_binary()] == [b"second", b"first"]


def test_an_event_with_no_attachments_is_complete(client: RawClient) -> None:
    client.send('450-7["put",{"url":"/echo","data":1}]')

    assert client.answer(7)["body"]["json"] == 1


def test_attachments_of_a_namespace_that_the_client_is_not_in_are_not_kept(
    client: RawClient,
) -> None:
    before = refusals(client, "malformed_packets")
    client.send('451-/chat,7["put",{"url":"/echo"}]')

    assert goes_on(client)
    assert refusals(client, "malformed_packets") == before + 1


# -- before a limit can be known --------------------------------------------------------------


def test_before_it_connects_a_client_sends_nothing_large(worker: Worker) -> None:
    with RawClient(worker.url) as other, RawClient(worker.url, connect=False) as client:
        before = refusals(other, "before_connect_bytes")
        client.send("40" + json.dumps({"token": "x" * (BEFORE_CONNECT_BYTES - 1000)}))
        assert client.receive().startswith("40")
        client.send("41")
        client.try_to_send('42["put",' + json.dumps("x" * BEFORE_CONNECT_BYTES) + "]")

        assert not client.survives()
        assert refusals(other, "before_connect_bytes") == before + 1


def test_a_namespace_has_a_name_of_bounded_length(client: RawClient) -> None:
    before = refusals(client, "malformed_packets")
    client.send("40/" + "n" * NAMESPACE_LENGTH + ",")

    assert goes_on(client)
    assert refusals(client, "malformed_packets") == before + 1


@pytest.mark.parametrize("packet", ["44", "47", "48[]", "49"])
def test_packets_that_no_client_sends_do_nothing(client: RawClient, packet: str) -> None:
    before = refusals(client, "malformed_packets")
    client.send(packet)

    assert goes_on(client)
    assert refusals(client, "malformed_packets") == before + 1


NOT_ENGINE_IO = ["4true", '4{"a":1}', "4" + "[" * 10**5, "0", "7", "2x", "é", "²", "b4AAAA"]


@pytest.mark.parametrize("packet", NOT_ENGINE_IO, ids=range(len(NOT_ENGINE_IO)))
def test_what_is_not_engine_io_ends_its_connection(worker: Worker, packet: str) -> None:
    with RawClient(worker.url) as other, RawClient(worker.url) as client:
        before = refusals(other, "malformed_packets")
        client.send(packet)

        assert not client.survives()
        assert refusals(other, "malformed_packets") == before + 1
        while client.sid in other.request("get", "/sids")["body"]:
            pass


def test_a_message_in_pieces_that_has_no_end_ends_its_connection(worker: Worker) -> None:
    with RawClient(worker.url) as other, RawClient(worker.url) as client:
        before = refusals(other, "max_http_buffer_size")
        client.send_without_end("4" + "x" * 10**6, MESSAGE // 10**6)

        assert not client.survives()
        assert refusals(other, "max_http_buffer_size") == before + 1


def test_nothing_is_compressed(worker: Worker) -> None:
    """A megabyte of zeros is a kilobyte, compressed."""
    asked = ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]
    with RawClient(worker.url, header=asked) as client:
        assert "sec-websocket-extensions" not in client.headers


def test_what_is_sent_does_not_wait_for_an_acknowledgement(client: RawClient) -> None:
    """Which takes 40 ms, so the first answer of a connection would take as long."""
    assert client.request("get", "/delay")["body"] == [False]


@pytest.mark.parametrize(
    "body", [b"x", b"", b"d=1", b"4[", b"b4", b"\xff", b"42[1]\x1e", b"\x1e" * 5000], ids=range(8)
)
def test_a_body_that_is_not_engine_io_is_refused(worker: Worker, body: bytes) -> None:
    with RawClient(worker.url) as other, PollingClient(worker.url) as client:
        before = refusals(other, "malformed_packets")
        with pytest.raises(HTTPError) as refused:
            client.post_bytes(body)
        refused.value.close()

        assert refused.value.code == 400
        assert refusals(other, "malformed_packets") == before + 1
        client.post('421["echo",1]')  # the connection goes on
        assert client.receive(1) == ["431[[1]]"]


def test_connections_that_send_malformed_packets_are_told_apart() -> None:
    """Whether over a WebSocket, in Engine.IO or by polling; and each is logged once."""
    with (
        cluster("memory://", 1, "tests.support.requests_app") as (worker,),
        RawClient(worker.url) as client,
        RawClient(worker.url) as other,
        PollingClient(worker.url) as polling,
    ):
        for _ in range(3):
            client.send("42[")
        other.send("x")
        with pytest.raises(HTTPError) as refused:
            polling.post("x")
        refused.value.close()
        assert client.request("get", "/sids")["statusCode"] == 200  # it has come to the three
        assert not other.survives()
        warnings = client.request("get", "/warnings")["body"]
    malformed = [one for one in warnings if "malformed_packets" in one]
    assert len(malformed) == 3
    assert all(one.startswith("A client at '127.0.0.1' has reached") for one in malformed)


@pytest.mark.parametrize("packet", ["2", "6"])
def test_a_packet_that_only_servers_send_ends_a_connection_at_once(
    worker: Worker, packet: str
) -> None:
    """Although its client does not poll, and so reads nothing: no thread waits for that."""
    client = PollingClient(worker.url)
    with pytest.raises(HTTPError) as refused:
        client.post(packet)
    refused.value.close()
    assert refused.value.code == 400


# -- clients that do not read -----------------------------------------------------------------


def test_a_client_that_does_not_read_its_refusals_is_hung_up_on() -> None:
    """They are small, but nothing else bounds how many there are."""
    small = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)]
    # Their limits make it quick.
    limits = json.dumps({"ROOMS_UNREAD_BYTES": 10**5, "ROOMS_PACKETS_PER_SECOND": 10**5})
    options = ("tests.support.requests_app", "", "--config", limits)
    with (
        cluster("memory://", 1, *options) as (worker,),
        RawClient(worker.url, sockopt=small) as client,
    ):
        while client.sid in _sids(worker):
            for _ in range(1000):
                client.try_to_send('427["get",1]')


def _sids(worker: Worker) -> list[str]:
    # By a new client each time: one that only sends for long answers no ping meanwhile.
    with RawClient(worker.url) as other:
        sids: list[str] = other.request("get", "/sids")["body"]
        return sids


# -- at random --------------------------------------------------------------------------------

NAMES = ["__proto__", "constructor", "_placeholder", "num", "url", "data", "headers", "toString"]
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(NAMES), inner, max_size=3)
    ),
    max_leaves=6,
)
urls = st.text(max_size=20).map("/echo/".__add__) | st.text(max_size=20).map("/echo?".__add__)
payloads = st.fixed_dictionaries(
    {"url": urls | anything},
    optional={
        "data": anything,
        "headers": st.dictionaries(st.text(max_size=5), st.text(max_size=5)) | anything,
        "method": anything,
        "params": anything,
    },
)


@pytest.fixture(scope="module")
def fuzzed(worker: Worker) -> Iterator[RawClient]:
    with RawClient(worker.url) as client:
        yield client


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([*VERBS, "GET", "trace"]), st.lists(payloads | anything, min_size=0, max_size=2)
)
def test_every_request_is_answered(fuzzed: RawClient, verb: str, arguments: list[Any]) -> None:
    looks = len(arguments) == 1 and isinstance(arguments[0], dict) and "url" in arguments[0]
    if verb in VERBS or looks:
        answer = fuzzed.answer(fuzzed.ask(verb, *arguments))

        assert answer["statusCode"] in (200, 308, 400, 404, 405, 413)
        assert "Traceback" not in str(answer["body"])
    assert goes_on(fuzzed)


pieces = st.sampled_from(
    ['["get",', '{"url":"/echo"', "}", "]", "[", "{", '"', ",", ":", "\\", "/chat,", "-", "1", "0"]
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from("0123456789"),
    st.lists(pieces | st.text(max_size=4), max_size=8).map("".join),
    st.lists(st.binary(max_size=10), max_size=2),
)
def test_no_packet_ends_the_worker(
    worker: Worker, kind: str, text: str, binary: list[bytes]
) -> None:
    with RawClient(worker.url) as client:
        client.send("4" + kind + text)
        for piece in binary:
            client.send(piece)
        if kind not in "156" and not binary:  # a disconnect; bytes to come
            assert goes_on(client)
    with RawClient(worker.url) as other:
        assert goes_on(other)
