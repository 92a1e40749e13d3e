"""The rules of the protocol one by one, with nodes that talk to each other by hand."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from flask_rooms.errors import BackendUnavailable, InvalidArgument
from flask_rooms.protocol.codec import (
    NOTHING,
    BadMessage,
    Codec,
    encode_operation,
)
from flask_rooms.protocol.messages import (
    Change,
    Done,
    Frame,
    Goodbye,
    Heartbeat,
    Query,
    Reply,
)
from flask_rooms.protocol.node import (
    COUNTED_DEAD,
    MAX_RULED_OUT,
    REPAIR_LOG_ECHOES,
    Deliver,
    Event,
    Evicted,
    Node,
    PeerLeft,
)
from flask_rooms.protocol.pending import Completed, TimedOut
from flask_rooms.protocol.stream import Limits, Stream

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

HEARTBEAT, CONFIRM = 2.0, 5.0
WIDE = Limits(outbox=10_000, log=100_000, frame=1_000)


class Table:
    """Some nodes around a table: what one says all hear, unless they are left out."""

    def __init__(self, *names: str) -> None:
        self.now = 1000.0
        self.nodes: dict[str, Node] = {}
        self.events: dict[str, list[Event]] = {}
        for name in names:
            self.add(name)
            self.talk()

    def add(self, name: str, limits: Limits | None = None) -> Node:
        """Let one more sit down."""
        limits = limits or Limits(outbox=10_000, log=10_000, frame=1_000)
        node = Node(name, self.now, heartbeat=HEARTBEAT, confirm=CONFIRM, limits=limits)
        self.nodes[name], self.events[name] = node, []
        return node

    def talk(self, *, deaf: tuple[str, ...] = (), mute: tuple[str, ...] = ()) -> None:
        """Let everybody say what they have to say, until nobody has anything more for a while."""
        quiet_since = self.now
        while self.now - quiet_since < 0.1:
            for name in self.nodes:
                if self.say(name, deaf=deaf, mute=mute):
                    quiet_since = self.now
            self.now += 0.01

    def say(self, name: str, *, deaf: tuple[str, ...] = (), mute: tuple[str, ...] = ()) -> bool:
        """Let one say a frame; False when it has nothing to say."""
        frame = self.nodes[name].take(self.now)
        if frame is None:
            return False
        for other in self.nodes:
            if other not in deaf and (name not in mute or other == name):
                self.hear(other, frame)
        return True

    def hear(self, name: str, frame: Frame) -> list[Event]:
        """Let one hear a frame; it answers what it is asked."""
        node = self.nodes[name]
        heard = node.receive(frame, self.now)
        self.events[name] += heard
        for event in heard:
            if isinstance(event, Deliver) and isinstance(event.operation, Change):
                own = [sid for sid in event.operation.sids if sid.startswith(f"{name}.")]
                done = len(own) if event.operation.source is None else 1
                node.submit(Done(event.sender, event.number, done, 0, ()))
            elif isinstance(event, Deliver) and isinstance(event.operation, Query):
                for page in (f"{name} 1", f"{name} 2"):
                    last = page.endswith("2")
                    node.submit(Reply(event.sender, event.number, (page,), (), last))
        return heard

    def let_pass(self, seconds: float, **left_out: tuple[str, ...]) -> None:
        """Let time pass, heartbeat by heartbeat."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + HEARTBEAT, end)
            for name, node in self.nodes.items():
                self.events[name] += node.tick(self.now)
            self.talk(**left_out)

    def ask(self, name: str, *owners: str) -> int:
        """Let one ask that a socket of each of the owners leaves a room."""
        sids = {owner: (f"{owner}.s",) for owner in owners}
        change = Change("leave", "/", tuple(f"{owner}.s" for owner in owners), ("room",))
        number, events = self.nodes[name].call(change, sids, self.now)
        self.events[name] += events
        return number

    def ask_all(self, name: str) -> int:
        """Let one tell all that everybody leaves a room."""
        change = Change("leave_all", "/", (), (), source="room")
        number, events = self.nodes[name].call(change, None, self.now)
        self.events[name] += events
        return number

    def question(self, name: str) -> int:
        """Let one ask all who is in a room."""
        number, events = self.nodes[name].call(Query("members", "/", "room"), None, self.now)
        self.events[name] += events
        return number

    def delivered(self, name: str) -> list[tuple[str, int]]:
        """Return sender and number of what one was to carry out."""
        return [(e.sender, e.number) for e in self.events[name] if isinstance(e, Deliver)]

    def outcome(self, name: str) -> Event:
        """Return the one thing that became of what one asked."""
        outcomes = [e for e in self.events[name] if isinstance(e, Completed | TimedOut)]
        assert len(outcomes) == 1
        return outcomes[0]


def test_the_owner_is_told_and_its_answer_settles_it() -> None:
    table = Table("a", "b", "c")

    number = table.ask("a", "b")
    table.talk()

    assert table.delivered("b") == table.delivered("c") == [("a", number)]
    assert table.outcome("a") == Completed(number, 1, 0, ())


def test_all_owners_have_to_answer() -> None:
    table = Table("a", "b", "c")

    number = table.ask("a", "b", "c")
    table.talk(mute=("c",))
    assert not [e for e in table.events["a"] if isinstance(e, Completed)]
    table.let_pass(HEARTBEAT)

    assert table.outcome("a") == Completed(number, 2, 0, ())


def test_what_was_missed_is_repeated_in_order_and_once() -> None:
    table = Table("a", "b")

    numbers = [table.ask("a", "b")]
    table.talk(deaf=("b",))
    numbers.append(table.ask("a", "b"))
    table.let_pass(HEARTBEAT)

    assert table.delivered("b") == [("a", number) for number in numbers]


def test_what_all_have_missed_is_repeated_once() -> None:
    others = tuple(f"b{number}" for number in range(20))
    table = Table("a", *others)
    number = table.ask("a", *others)
    table.say("a", deaf=others)
    table.now += HEARTBEAT
    table.say("a")

    said = 0
    for name in others:  # each wants it, and what is repeated comes late
        frame = table.nodes[name].take(table.now)
        assert frame is not None
        assert frame.nacks == {"a": number}
        table.hear("a", frame)
        again = table.nodes["a"].take(table.now)
        said += len(again.operations) if again is not None else 0

    assert said == 1


def test_what_was_missed_twice_is_repeated_twice() -> None:
    table = Table("a", "b", "c")
    number = table.ask("a", "b", "c")
    table.say("a", deaf=("b", "c"))

    table.let_pass(HEARTBEAT, deaf=("c",))
    assert table.delivered("b") == [("a", number)]
    table.let_pass(HEARTBEAT)

    assert table.delivered("b") == table.delivered("c") == [("a", number)]


def test_a_heartbeat_shows_what_was_missed_at_the_end() -> None:
    table = Table("a", "b")

    number = table.ask("a", "b")
    table.talk(deaf=("b",))
    table.let_pass(2 * HEARTBEAT)

    assert table.delivered("b") == [("a", number)]


def test_a_double_changes_nothing() -> None:
    table = Table("a", "b")
    number = table.ask("a", "b")
    frame = table.nodes["a"].take(table.now)
    assert frame is not None

    heard = [table.hear("b", frame) for _ in range(3)]

    assert [len(events) for events in heard] == [1, 0, 0]
    assert table.delivered("b") == [("a", number)]


def test_what_could_not_be_published_goes_out_later_and_first() -> None:
    table = Table("a", "b")
    node = table.nodes["a"]
    table.ask("a", "b")
    table.ask("a", "c")
    frame = node.take(table.now)
    assert frame is not None

    node.give_back(frame, table.now)
    table.ask("a", "b", "c")
    again = node.take(table.now)

    assert again is not None
    assert again.first == frame.first
    heard = [e.operation for e in table.hear("b", again) if isinstance(e, Deliver)]
    sids = [change.sids for change in heard if isinstance(change, Change)]
    assert sids == [("b.s",), ("c.s",), ("b.s", "c.s")]


def test_a_frame_of_a_worker_that_has_not_named_us_is_not_applied() -> None:
    """It may be a copy from before we were born."""
    table = Table("a", "b")
    table.ask("a", "b")
    table.now += HEARTBEAT
    old = table.nodes["a"].take(table.now)
    assert old is not None
    table.hear("a", old)
    table.add("c")

    heard = table.hear("c", old)
    table.talk()

    assert heard == []
    assert table.delivered("c") == []


def test_a_newcomer_is_owed_what_is_sent_after_its_hello() -> None:
    table = Table("a")
    before = table.ask("a", "a")
    table.talk()
    table.add("b")
    hello = table.nodes["b"].take(table.now)
    assert hello is not None
    table.hear("b", hello)

    after = table.ask("a", "a")  # a has not heard the hello yet
    frame = table.nodes["a"].take(table.now)
    assert frame is not None
    table.hear("a", hello)
    table.hear("a", frame)
    table.hear("b", frame)
    table.talk()

    assert before < after
    assert table.delivered("b") == [("a", after)]


def test_an_elder_is_owed_everything_by_a_worker_born_without_a_broker() -> None:
    table = Table("a")
    table.now += 1
    table.add("b")
    numbers = [table.ask("b", "a"), table.ask("b", "a")]
    table.let_pass(CONFIRM + 1, deaf=("a", "b"))  # and both are overdue

    table.let_pass(2 * HEARTBEAT)

    assert table.delivered("a") == [("b", number) for number in numbers]


def test_who_was_asked_before_it_was_heard_of_is_owed_that() -> None:
    """It has served its clients without a broker, and is there only now."""
    table = Table("a")

    number = table.ask("a", "b")
    table.say("a")
    table.add("b")
    table.talk()

    assert table.delivered("b") == [("a", number)]
    assert table.outcome("a") == Completed(number, 1, 0, ())


def test_a_socket_of_a_worker_nobody_has_heard_of_is_unknown_once_that_is_certain() -> None:
    table = Table("a", "b")

    number = table.ask("a", "nobody")
    table.talk()
    assert not [e for e in table.events["a"] if isinstance(e, Completed)]
    table.let_pass(HEARTBEAT)

    assert table.outcome("a") == Completed(number, 0, 0, ("nobody.s",))


def test_nobody_is_unknown_before_the_question_has_come_back() -> None:
    """A worker may have said hello meanwhile, and what it said is on its way to us."""
    table = Table("a", "b")
    table.let_pass(3 * HEARTBEAT)

    number = table.ask("a", "nobody")
    table.events["a"] += table.nodes["a"].tick(table.now)
    assert table.events["a"] == []
    table.say("a")

    assert table.outcome("a") == Completed(number, 0, 0, ("nobody.s",))


def test_a_worker_that_others_know_is_not_unknown() -> None:
    table = Table("a", "b")
    table.add("c")

    number = table.ask("c", "a")
    table.let_pass(HEARTBEAT, mute=("a",))  # c hears of a by b only
    assert not [e for e in table.events["c"] if isinstance(e, Completed)]
    table.let_pass(HEARTBEAT)

    assert table.outcome("c") == Completed(number, 1, 0, ())


def test_a_silent_worker_is_dead_and_what_waits_for_it_completes() -> None:
    table = Table("a", "b", "c")
    del table.nodes["b"]
    table.let_pass(3 * HEARTBEAT)

    number = table.ask("a", "b", "c")
    table.let_pass(2 * HEARTBEAT)

    assert table.outcome("a") == Completed(number, 1, 0, ("b.s",))
    assert PeerLeft("b") in table.events["a"]


def test_waiting_for_the_dead_ends_only_when_they_have_been_told() -> None:
    table = Table("a", "b")
    del table.nodes["b"]
    number = table.ask("a", "b")
    table.say("a")
    for _ in range(4):
        table.now += HEARTBEAT
        table.say("a")
    assert "b" not in table.nodes["a"].peers
    assert table.events["a"] == []

    verdict = table.nodes["a"].take(table.now)

    assert verdict is not None
    assert verdict.heartbeat is not None
    assert verdict.heartbeat.stream_starts == {"b": COUNTED_DEAD}
    heard = table.hear("a", verdict)
    assert heard == [PeerLeft("b"), Completed(number, 0, 0, ("b.s",))]


def test_nobody_dies_while_we_are_deaf_ourselves() -> None:
    table = Table("a", "b")

    table.let_pass(10 * HEARTBEAT, deaf=("a", "b"))
    table.let_pass(HEARTBEAT)

    assert table.nodes["a"].peers == {"b"}
    assert not [e for e in table.events["a"] if isinstance(e, PeerLeft | Evicted)]


def test_a_goodbye_ends_waiting_at_once() -> None:
    table = Table("a", "b")
    number = table.ask("a", "b")
    table.say("a", deaf=("b",))

    table.nodes["b"].submit(Goodbye())
    table.say("b")

    assert table.events["a"] == [PeerLeft("b"), Completed(number, 0, 0, ("b.s",))]


def test_an_id_of_the_dead_is_unknown_at_once() -> None:
    table = Table("a", "b")
    table.nodes.pop("b").submit(Goodbye())
    table.events["a"].clear()
    table.let_pass(5 * HEARTBEAT)
    table.events["a"].clear()

    number = table.ask("a", "b")

    assert table.outcome("a") == Completed(number, 0, 0, ("b.s",))


def test_who_does_not_answer_is_named_in_time() -> None:
    table = Table("a", "b", "c")

    number = table.ask("a", "b", "c")
    table.let_pass(CONFIRM, mute=("c",))

    assert table.outcome("a") == TimedOut(number, ("c",))


def test_who_was_counted_dead_while_it_lived_starts_again() -> None:
    table = Table("a", "b")

    table.let_pass(6 * HEARTBEAT, mute=("b",))

    assert {type(event) for event in table.events["b"]} == {Evicted}
    assert table.nodes["b"].receive(Frame("a", 1), table.now) == []


def test_who_missed_more_than_the_log_holds_starts_again() -> None:
    table = Table("a")
    small = table.add("b", Limits(outbox=10_000, log=100, frame=1_000))
    table.talk()
    for _ in range(20):
        small.submit(Change("leave", "/", ("a.s",), ("room",)))
        table.say("b", deaf=("a",))

    table.let_pass(2 * HEARTBEAT)

    assert {type(event) for event in table.events["a"]} == {Evicted}


def test_a_late_heartbeat_is_no_news() -> None:
    """One from before we were named does not mean that we are counted dead."""
    table = Table("a")
    old = table.nodes["a"].take(table.now + HEARTBEAT)
    assert old is not None
    assert old.heartbeat is not None
    table.add("b")
    table.let_pass(2 * HEARTBEAT)

    for copy in (old, replace(old, heartbeat=replace(old.heartbeat, oldest=10**6))):
        assert table.hear("b", copy) == []


def test_a_copy_of_our_own_heartbeat_is_no_news_either() -> None:
    """Anybody can publish one; nobody has had more time to be heard by that."""
    table = Table()
    node = table.add("a")
    hello = node.take(table.now)
    assert hello is not None
    node.receive(hello, table.now)
    table.ask("a", "b")
    question = node.take(table.now)
    assert question is not None
    node.receive(question, table.now)

    table.now += 0.95 * HEARTBEAT
    table.hear("a", hello)

    assert not node.is_settled
    assert table.events["a"] == []


def test_copies_of_its_words_keep_no_worker_alive() -> None:
    table = Table("a", "b")
    table.let_pass(2 * HEARTBEAT)
    table.ask("b", "a")
    said = [frame_of(table, "b")]
    table.hear("a", said[0])
    table.now += HEARTBEAT
    said.append(frame_of(table, "b"))
    table.hear("a", said[1])
    del table.nodes["b"]

    for _ in range(6):
        table.let_pass(HEARTBEAT)
        for frame in said:
            table.hear("a", frame)

    assert PeerLeft("b") in table.events["a"]


def frame_of(table: Table, name: str) -> Frame:
    """Return what one has to say."""
    frame = table.nodes[name].take(table.now)
    assert frame is not None
    return frame


def test_an_answer_counts_once_and_only_from_who_was_asked() -> None:
    table = Table("a", "b", "c")
    number = table.ask("a", "b")
    table.say("a", deaf=("b",))

    table.nodes["c"].submit(Done("a", number, 99, 0, ("b.s",)))
    table.say("c")
    assert table.events["a"] == []
    table.nodes["b"].submit(Done("a", number, 0, 1, ("b.s", "c.s")))
    table.nodes["b"].submit(Done("a", number, 99, 0, ()))
    table.say("b")

    assert table.outcome("a") == Completed(number, 0, 1, ("b.s",))


@pytest.mark.parametrize("data", [b"", b"\xff", encode_operation(Goodbye())[:-1] + b"\x63"])
def test_an_operation_that_cannot_be_understood_does_not_stop_the_stream(data: bytes) -> None:
    """It may be of a later version; the ones after it count all the same."""
    table = Table("a", "b")
    number = table.ask("a", "b")
    frame = table.nodes["a"].take(table.now)
    assert frame is not None

    heard = table.hear("b", replace(frame, operations=(data, *frame.operations)))

    assert [event.number for event in heard if isinstance(event, Deliver)] == [number + 1]


def test_nothing_comes_after_a_goodbye() -> None:
    table = Table("a", "b")
    node = table.nodes["a"]
    node.submit(Goodbye())
    node.submit(Change("leave", "/", ("b.s",), ("room",)))

    table.say("a")

    assert table.events["b"] == [PeerLeft("a")]


def test_no_number_of_another_worker_keeps_us_from_speaking() -> None:
    """What is wanted of it may be one more than the last that was applied."""
    codec = Codec(["key"], "channel", 10_000)
    node = Node("a", 0.0, heartbeat=HEARTBEAT, confirm=CONFIRM, limits=WIDE)
    highest = 2**64 - 1
    with suppress(BadMessage):
        for beat, now in (1, 1.0), (2, 9.0):
            said = Heartbeat(beat, now, 1, 1, {"a": highest})
            frame = Frame("b", highest, (NOTHING,) * (2 - beat), said)
            node.receive(codec.decode(codec.encode(frame)), now)
            node.on_reconnect(now + 5)

    mine = node.take(9.0)

    assert mine is not None
    assert codec.decode(codec.encode(mine)) == mine


def test_the_outbox_and_a_message_are_bounded() -> None:
    node = Node("a", 0.0, heartbeat=1, confirm=1, limits=Limits(outbox=300, log=1, frame=200))

    with pytest.raises(InvalidArgument, match="ROOMS_MESSAGE_BYTES"):
        node.submit(Change("leave", "/", ("a.s",), ("r" * 200,)))
    node.submit(Change("leave", "/", ("a.s",), ("r" * 150,)))
    with pytest.raises(BackendUnavailable, match="ROOMS_OUTBOX_BYTES"):
        node.submit(Change("leave", "/", ("a.s",), ("r" * 150,)))

    frame = node.take(0.0)
    assert frame is not None
    node.give_back(frame, 0.0)
    with pytest.raises(BackendUnavailable):  # what came back waits again
        node.submit(Change("leave", "/", ("a.s",), ("r" * 150,)))
    assert node.take(0.0) is not None
    node.take(0.0)
    node.submit(Change("leave", "/", ("a.s",), ("r" * 150,)))


def test_a_full_outbox_keeps_no_answer_and_no_goodbye() -> None:
    node = Node("a", 0.0, heartbeat=1, confirm=1, limits=Limits(outbox=300, log=1, frame=200))
    node.submit(Change("leave", "/", ("a.s",), ("r" * 150,)))
    node.submit(Change("leave", "/", ("a.s",), ("r" * 90,)))
    answers = [Done("b", n, 1, 0, ("b.s" * 20,)) for n in range(3)]

    for answer in answers:
        node.submit(answer)
    node.submit(Goodbye())

    assert node.waiting()[2:] == [*answers, Goodbye()]
    with pytest.raises(BackendUnavailable):
        node.submit(Change("leave", "/", ("a.s",), ("r",)))


# -- what is for everybody -------------------------------------------------------------------


def test_what_is_for_everybody_is_settled_when_all_have_answered() -> None:
    table = Table("a", "b", "c")
    table.let_pass(2 * HEARTBEAT)

    number = table.ask_all("a")
    table.talk(mute=("c",))
    assert [e for e in table.events["a"] if isinstance(e, Completed)] == []
    table.let_pass(HEARTBEAT)

    assert table.outcome("a") == Completed(number, 2, 0, ())


def test_what_is_for_everybody_waits_until_everybody_has_been_heard() -> None:
    """A worker that has just come to life may not know of all others yet."""
    table = Table("a")
    table.let_pass(2 * HEARTBEAT)
    table.add("b")
    table.nodes["b"].take(table.now)  # its hello gets lost, and a has no reason to greet it

    number = table.ask_all("b")
    table.talk(deaf=("a",), mute=("a",))
    assert [e for e in table.events["b"] if isinstance(e, Completed)] == []
    table.let_pass(2 * HEARTBEAT)

    assert table.outcome("b") == Completed(number, 1, 0, ())


def test_who_says_hello_before_the_question_has_come_back_is_asked_too() -> None:
    table = Table("a", "b")
    table.let_pass(2 * HEARTBEAT)
    newcomer = table.add("c")
    hello = newcomer.take(table.now)
    assert hello is not None

    number = table.ask_all("a")
    for name in table.nodes:
        table.hear(name, hello)
    table.let_pass(2 * HEARTBEAT)

    assert ("a", number) in table.delivered("c")
    assert table.outcome("a") == Completed(number, 2, 0, ())


def test_who_is_known_by_others_only_is_waited_for() -> None:
    table = Table("a", "b", "c")
    table.let_pass(2 * HEARTBEAT)
    table.add("d")
    table.let_pass(HEARTBEAT, mute=("d",))
    beat = table.nodes["d"].take(table.now + HEARTBEAT)
    assert beat is not None
    table.hear("b", beat)  # of all others, b alone has heard of d
    table.let_pass(HEARTBEAT, mute=("d",))

    number = table.ask_all("a")
    table.let_pass(CONFIRM, mute=("d",))

    assert table.outcome("a") == TimedOut(number, ("d",))


def test_a_question_is_answered_by_all_pages_of_all_workers() -> None:
    table = Table("a", "b", "c")
    table.let_pass(2 * HEARTBEAT)

    number = table.question("a")
    table.talk()

    outcome = table.outcome("a")
    assert isinstance(outcome, Completed)
    names = [name for reply in outcome.replies for name in reply.names]
    assert sorted(map(str, names)) == ["b 1", "b 2", "c 1", "c 2"]
    assert {reply.number for reply in outcome.replies} == {number}


def test_who_has_not_answered_to_the_end_is_missing_and_so_are_its_pages() -> None:
    table = Table("a", "b", "c")
    table.let_pass(2 * HEARTBEAT)

    number = table.question("a")
    table.say("a")
    half = table.nodes["b"].take(table.now)
    assert half is not None
    table.hear("a", replace(half, operations=half.operations[:1]))
    table.let_pass(CONFIRM, mute=("b",))

    outcome = table.outcome("a")
    assert isinstance(outcome, TimedOut)
    assert (outcome.number, outcome.missing) == (number, ("b",))
    assert {reply.names for reply in outcome.replies} == {("c 1",), ("c 2",)}


def test_who_has_died_meanwhile_has_no_part_in_the_answer() -> None:
    table = Table("a", "b", "c")
    table.let_pass(2 * HEARTBEAT)

    table.question("a")
    table.say("a")
    half = table.nodes["b"].take(table.now)
    assert half is not None
    table.hear("a", replace(half, operations=half.operations[:1]))
    table.nodes["b"].submit(Goodbye())
    goodbye = table.nodes["b"].take(table.now)
    assert goodbye is not None
    table.hear("a", replace(goodbye, first=half.first + 1))
    table.talk(mute=("b",))

    outcome = table.outcome("a")
    assert isinstance(outcome, Completed)
    assert {reply.names for reply in outcome.replies} == {("c 1",), ("c 2",)}


def test_a_question_that_is_given_up_keeps_what_has_been_answered() -> None:
    table = Table("a", "b", "c")
    table.let_pass(2 * HEARTBEAT)
    number = table.question("a")
    table.talk(mute=("b",))

    table.events["a"] += table.nodes["a"].time_out(number)

    outcome = table.outcome("a")
    assert isinstance(outcome, TimedOut)
    assert outcome.missing == ("b",)
    assert {reply.names for reply in outcome.replies} == {("c 1",), ("c 2",)}
    assert table.nodes["a"].time_out(number) == []


# -- versions, and what is kept ----------------------------------------------------------------


def test_a_socket_of_a_worker_of_another_version_is_not_unknown() -> None:
    """What it says is not understood, but it exists, and so may the socket."""
    table = Table("a")
    table.let_pass(2 * HEARTBEAT)
    table.nodes["a"].note_foreign_version("b")

    number = table.ask("a", "b")
    for _ in range(3):
        table.nodes["a"].note_foreign_version("b")
        table.let_pass(HEARTBEAT)

    assert table.outcome("a") == TimedOut(number, ("b",))


def test_a_worker_of_another_version_that_falls_silent_is_gone() -> None:
    table = Table("a")
    table.let_pass(2 * HEARTBEAT)
    table.nodes["a"].note_foreign_version("b")
    table.let_pass(5 * HEARTBEAT)

    number = table.ask("a", "b")
    table.talk()

    assert table.outcome("a") == Completed(number, 0, 0, ("b.s",))


def test_what_everybody_alive_has_had_time_to_ask_for_is_kept_no_longer() -> None:
    table = Table("a", "b")
    node = table.nodes["a"]
    for _ in range(5):
        node.submit(Change("leave", "/", ("b.s",), ("room",)))
    table.talk()

    table.let_pass((REPAIR_LOG_ECHOES - 1) * HEARTBEAT)
    assert node._stream.oldest == 1
    table.let_pass(6 * HEARTBEAT)

    assert node._stream.oldest == 6
    assert table.events["b"][-1] == Deliver("a", 5, Change("leave", "/", ("b.s",), ("room",)))


def test_while_we_hear_nothing_what_we_said_is_kept() -> None:
    table = Table("a", "b")
    node = table.nodes["a"]
    node.submit(Change("leave", "/", ("b.s",), ("room",)))
    table.say("a", deaf=("a", "b"))

    table.let_pass(2 * REPAIR_LOG_ECHOES * HEARTBEAT, deaf=("a", "b"))
    assert node._stream.oldest == 1
    table.let_pass(HEARTBEAT)

    assert ("a", 1) in table.delivered("b")


# -- what the simulation has found -------------------------------------------------------------


def outcasts(table: Table) -> set[str]:
    """Return who must start again."""
    return {name for name, events in table.events.items() for e in events if isinstance(e, Evicted)}


def test_two_that_have_counted_each_other_as_dead_do_not_stay_apart() -> None:
    """Neither listens to the dead any more, and so neither would ever hear that it is dead."""
    table = Table("a", "b")
    table.let_pass(6 * HEARTBEAT, mute=("a", "b"))
    assert [node.peers for node in table.nodes.values()] == [frozenset()] * 2

    table.let_pass(2 * HEARTBEAT)

    assert outcasts(table)


def test_a_verdict_reaches_even_who_no_longer_listens_to_its_judge() -> None:
    table = Table("a", "b")
    for judge, other in (("b", "a"), ("a", "b")):
        for _ in range(4):
            table.now += HEARTBEAT
            table.say(judge, deaf=(other,))
    assert [node.peers for node in table.nodes.values()] == [frozenset()] * 2

    verdict = table.nodes["a"].take(table.now)

    assert verdict is not None
    assert [type(event) for event in table.hear("b", verdict)] == [Evicted]


def call_unknown(table: Table) -> None:
    """Let "a" call a socket of "b" unknown, which it cannot hear."""
    table.let_pass(2 * HEARTBEAT)
    table.add("b")
    table.talk(mute=("b",))
    table.ask("a", "b")
    table.talk(mute=("b",))
    assert isinstance(table.outcome("a"), Completed)


def test_who_was_called_unknown_and_turns_up_has_to_start_again() -> None:
    table = Table("a")
    call_unknown(table)

    table.let_pass(HEARTBEAT)

    assert outcasts(table) == {"b"}


def test_so_many_names_of_nobody_are_remembered_and_no_more() -> None:
    table = Table("a")
    table.let_pass(2 * HEARTBEAT)

    name_nobodies(table)

    assert not table.nodes["a"].is_ruled_out("nobody0")
    assert table.nodes["a"].is_ruled_out(f"nobody{MAX_RULED_OUT}")


def test_who_may_have_been_called_unknown_under_a_forgotten_name_starts_again() -> None:
    table = Table()
    table.add("a", WIDE)
    call_unknown(table)
    name_nobodies(table)
    assert not table.nodes["a"].is_ruled_out("b")

    table.let_pass(HEARTBEAT)

    assert outcasts(table) == {"b"}


def test_the_dead_are_remembered_however_many_there_are() -> None:
    """Or a recorded copy of their words would be taken for news, and carried out again."""
    table = Table("a", "b")
    table.nodes["b"].submit(Goodbye())
    table.say("b")
    assert PeerLeft("b") in table.events["a"]
    bury_many(table)

    for beat in (1, 2):
        said = Heartbeat(beat, 0.0, 1, 1, {"a": 1})
        change = Change("leave", "/", ("a.s",), ("room",))
        table.hear("a", Frame("b", 1, (encode_operation(change),), said))

    assert table.delivered("a") == []


def test_who_is_born_after_the_forgotten_nobodies_is_met() -> None:
    """Even if its hello is lost."""
    table = Table("a")
    table.let_pass(2 * HEARTBEAT)
    name_nobodies(table)
    table.let_pass(2 * HEARTBEAT)
    table.add("b")
    table.say("b", deaf=("a",))

    table.let_pass(HEARTBEAT)

    assert table.nodes["a"].peers == {"b"}
    assert outcasts(table) == set()


def name_nobodies(table: Table) -> None:
    """Let "a" call sockets of more workers unknown than it remembers."""
    for number in range(MAX_RULED_OUT + 1):
        table.ask("a", f"nobody{number}")
        table.say("a", deaf=tuple(table.nodes.keys() - {"a"}))


def bury_many(table: Table) -> None:
    """Let many workers come to "a", and leave."""
    for number in range(MAX_RULED_OUT + 1):
        guest = Node(f"guest{number}", table.now, heartbeat=HEARTBEAT, confirm=CONFIRM, limits=WIDE)
        hello = guest.take(table.now)
        assert hello is not None
        table.hear("a", hello)
        named = replace(hello, heartbeat=Heartbeat(2, 0.0, 1, 1, {"a": 1}))
        goodbye = replace(named, operations=(encode_operation(Goodbye()),))
        assert PeerLeft(guest.name) in table.hear("a", goodbye)


def test_a_newcomer_whose_hello_was_lost_is_owed_what_was_sent_since() -> None:
    table = Table("a")
    table.let_pass(3 * HEARTBEAT)
    before = table.ask("a", "a")
    table.let_pass(3 * HEARTBEAT)
    table.add("b")
    table.say("b", deaf=("a",))

    after = table.ask("a", "a")
    table.say("a", deaf=("b",))
    table.let_pass(HEARTBEAT)

    assert before < after
    assert table.delivered("b") == [("a", after)]


def test_a_newcomer_is_not_cast_out_for_what_was_sent_just_before_it() -> None:
    """It is owed a little more than it could have missed, but only if that is still there."""
    table = Table()
    node = table.add("a", Limits(outbox=10_000, log=100, frame=1_000))
    table.let_pass(3 * HEARTBEAT)
    for _ in range(10):
        node.submit(Change("leave", "/", ("b.s",), ("room",)))
        table.say("a")
    table.let_pass(HEARTBEAT)
    table.add("b")
    table.say("b", deaf=("a",))

    table.let_pass(HEARTBEAT)

    assert outcasts(table) == set()
    assert "a" in table.nodes["b"].peers


def test_after_an_absence_nobody_is_unknown_until_all_have_had_time_to_speak() -> None:
    """Whoever has said hello meanwhile has not been heard."""
    table = Table("a", "b")
    table.let_pass(3 * HEARTBEAT)
    table.add("c")
    table.talk(deaf=("a",), mute=("a",))

    table.nodes["a"].on_reconnect(table.now)
    number = table.ask("a", "c")
    table.say("a")
    assert [e for e in table.events["a"] if isinstance(e, Completed)] == []
    table.talk()

    assert table.outcome("a") == Completed(number, 1, 0, ())


def test_who_was_away_applies_nothing_before_it_knows_that_it_is_not_counted_as_dead() -> None:
    table = Table("a", "b", "c")
    table.let_pass(2 * HEARTBEAT, deaf=("c",), mute=("c",))

    table.nodes["c"].on_reconnect(table.now)
    number = table.ask("b", "c")
    table.say("b")
    assert table.delivered("c") == []
    table.let_pass(HEARTBEAT)

    assert table.delivered("c") == [("b", number)]
    assert table.outcome("b") == Completed(number, 1, 0, ())


def test_who_was_away_waits_no_longer_than_those_who_live_need_to_speak() -> None:
    table = Table("a", "b", "c")
    del table.nodes["a"]
    table.let_pass(2 * HEARTBEAT, deaf=("c",), mute=("c",))

    table.nodes["c"].on_reconnect(table.now)
    number = table.ask("b", "c")
    table.let_pass(2 * HEARTBEAT)

    assert table.delivered("c") == [("b", number)]


def test_who_is_asked_by_a_stranger_waits_for_a_word_of_it() -> None:
    """A newcomer that hears nobody has called its sockets unknown: they must get no more."""
    table = Table("a", "owner")
    hello = table.add("newcomer").take(table.now)
    assert hello is not None
    table.hear("newcomer", hello)
    alone = {"deaf": ("a", "owner"), "mute": ("a", "owner")}
    table.let_pass(2 * HEARTBEAT, **alone)
    number = table.ask("newcomer", "owner")
    question = table.nodes["newcomer"].take(table.now)
    assert question is not None
    table.hear("newcomer", question)
    assert table.outcome("newcomer") == Completed(number, 0, 0, ("owner.s",))

    table.ask("a", "owner")
    table.hear("owner", hello)
    table.hear("owner", question)
    table.say("a")
    assert table.delivered("owner") == []
    table.talk()

    assert any(isinstance(event, Evicted) for event in table.events["owner"])
    assert table.delivered("owner") == []


def test_who_is_asked_by_a_newcomer_that_hears_it_goes_on() -> None:
    table = Table("a", "owner")
    hello = table.add("newcomer").take(table.now)
    asked = table.ask("newcomer", "owner")
    question = table.nodes["newcomer"].take(table.now)
    assert hello is not None
    assert question is not None

    for frame in (hello, question):
        for name in ("newcomer", "owner"):
            table.hear(name, frame)
    said = table.ask("a", "owner")
    table.talk()

    assert set(table.delivered("owner")) == {("newcomer", asked), ("a", said)}


def test_who_asks_and_hears_nothing_holds_nobody_up_for_long() -> None:
    table = Table("a", "owner")
    table.add("newcomer")
    for _ in range(3):
        table.ask("newcomer", "owner")
        table.let_pass(HEARTBEAT, deaf=("newcomer",))
        said = table.ask("a", "owner")

    table.let_pass(HEARTBEAT, deaf=("newcomer",))

    assert ("a", said) in table.delivered("owner")


def test_what_comes_after_a_gap_is_a_sign_of_life() -> None:
    """It cannot be applied yet, but whoever says it lives."""
    table = Table("a", "b")
    table.ask("b", "a")
    table.say("b", deaf=("a",))

    for _ in range(6):
        table.now += HEARTBEAT
        table.say("a", deaf=("b",))
        table.ask("b", "a")
        frame = table.nodes["b"].take(table.now)
        assert frame is not None
        table.hear("a", replace(frame, heartbeat=None))

    assert table.delivered("a") == []
    assert table.nodes["a"].peers == {"b"}


def test_silence_is_not_counted_across_an_absence() -> None:
    table = Table("a", "b")
    table.let_pass(3 * HEARTBEAT, mute=("b",))

    table.nodes["a"].on_reconnect(table.now)
    table.let_pass(2 * HEARTBEAT, mute=("b",))

    assert table.nodes["a"].peers == {"b"}


def test_what_was_only_repeated_does_not_wait_again() -> None:
    """The outbox would be full of what has long been sent."""
    stream = Stream(Limits(outbox=10, log=1_000, frame=1_000))
    for _ in range(3):
        stream.append(b"12345")
        stream.take()
    stream.rewind(1)
    stream.append(b"12345")

    stream.give_back(stream.take()[0])

    stream.append(b"12345")
    with pytest.raises(BackendUnavailable):
        stream.append(b"1")


def test_what_may_have_been_published_is_not_sent_by_the_next_life() -> None:
    """A publish can fail although others have received it: they would carry it out twice."""
    table = Table("a", "b")
    node = table.nodes["a"]
    number = table.ask("a", "b")
    frame = node.take(table.now)
    assert frame is not None
    node.give_back(frame, table.now)
    table.hear("b", frame)
    table.ask("a", "b")

    assert table.delivered("b") == [("a", number)]
    assert len(node.waiting()) == 1


def test_what_is_for_all_waits_for_a_newcomer_that_will_hear_of_it() -> None:
    table = Table("a", "b")
    table.let_pass(2 * HEARTBEAT)
    table.add("c")
    table.say("c", deaf=("a",))  # so that c is met later than it was born

    number = table.ask_all("a")
    table.say("a", deaf=("b", "c"))
    table.let_pass(HEARTBEAT, mute=("b",))
    assert [e for e in table.events["a"] if isinstance(e, Completed)] == []
    table.let_pass(HEARTBEAT)

    assert ("a", number) in table.delivered("c")
    assert table.outcome("a") == Completed(number, 2, 0, ())


def test_who_was_there_when_a_change_for_all_was_confirmed_and_not_asked_starts_again() -> None:
    table = Table("a")
    table.let_pass(2 * HEARTBEAT)
    table.add("b")
    table.talk(mute=("b",))
    table.let_pass(HEARTBEAT, mute=("b",))
    number = table.ask_all("a")
    table.talk(mute=("b",))
    assert table.outcome("a") == Completed(number, 0, 0, ())

    table.let_pass(HEARTBEAT)

    assert outcasts(table) == {"b"}


def test_what_all_have_answered_is_nothing_to_a_newcomer() -> None:
    """Its sockets have joined after that."""
    table = Table("a", "b")
    table.let_pass(3 * HEARTBEAT)
    table.ask_all("a")
    table.let_pass(HEARTBEAT)
    table.add("c")
    table.say("c", deaf=("a",))

    after = table.ask("a", "b")
    table.let_pass(HEARTBEAT)

    assert table.delivered("c") == [("a", after)]
