"""
Written schedules, for rules that random schedules hardly ever need.

Each is named after the mutant in `mutations.py` that it catches, and is played with the seed 0.
"""

from __future__ import annotations

from tests.simulation.actions import (
    Ask,
    Away,
    Broadcast,
    Connect,
    Cut,
    Empty,
    Hang,
    Move,
    Mute,
    Pause,
    Replay,
    Schedule,
    Start,
    Stop,
    Storm,
)
from tests.simulation.bus import Weather, chances, number_of


def away(worker: str, start: float, end: float) -> Away:
    """Return an absence with a fixed end, which a world would delay by a random time."""
    later = chances(0, number_of(worker), int(start * 1000))[0]
    return Away(start, (worker,), end - start - later)


CASES: dict[str, Schedule] = {
    # A script starts while all workers are away, so the broker counts no other one; it says that
    # the room is empty.
    "NoQuarantineAfterReconnect": [
        Start(0.0, "w0"),
        Start(0.0, "w1"),
        Connect(3.0, "s0", "w0", (Move(3.0, "w0", "join", ("s0",), "r0"),)),
        away("w0", 6.05, 6.6),
        away("w1", 6.05, 6.6),
        Start(6.3, "w2"),
        Empty(6.4, "w2", "r0"),
        Broadcast(6.61, "w1", "r0"),
        Start(6.7, "w3"),
    ],
    # w2 ends in the moment in which w5 starts; w7 has s1 of w2 join before any worker can vouch.
    "CountNotVerified": [
        Start(0.0, "w2"),
        Connect(3.0, "s1", "w2"),
        Start(8.731, "w5"),
        Stop(8.731, "w2"),
        Start(11.231, "w7"),
        Move(11.378, "w7", "join", ("s1",), "r1"),
    ],
    # The last answer of w1 is lost, and no other one shows it.
    "NoProbes": [
        Start(0.0, "w0"),
        Start(0.0, "w1"),
        Connect(3.0, "s0", "w1"),
        Cut(12.0, ("w1",), ("w0",), 0.5),
        Move(12.4, "w0", "join", ("s0",), "r0"),
    ],
    # A publish of w0 fails, and w0 is evicted before it tries again.
    "TriedSentByNextLife": [
        Start(0.0, "w0"),
        Start(0.5, "w1"),
        Mute(4.2, "w0", 20.0),
        Storm(9.0, 3.0, Weather(delay=0.04)),  # so w1 tells w0 at 10.6, after another heartbeat
        Hang(10.29, "w0", 0.3),
        Broadcast(10.39, "w0", "r0"),
    ],
    # w0 broadcasts and leaves, w1 forgets it, and somebody sends again what everyone has sent.
    "CopiesRevive": [
        Start(0.0, "w0"),
        Start(0.0, "w1"),
        Connect(3.0, "s0", "w1", (Move(3.0, "w1", "join", ("s0",), "r0"),)),
        Broadcast(4.0, "w0", "r0"),
        Stop(5.0, "w0"),
        *(Start(6.0, f"w{number}") for number in (2, 3, 4)),
        *(Stop(9.0, f"w{number}") for number in (2, 3, 4)),
        Replay(15.0, 500, 501),
    ],
    # w1 is stopped, so w0 waits for w6, whose hello comes after the call has echoed.
    "PendingCallsLeftOut": [
        Start(5.0, "w0"),
        Start(5.0, "w1"),
        Storm(10.0, 0.12, Weather(delay=0.1, reordering=1.0)),
        Start(10.0, "w6"),
        Connect(10.0, "s0", "w6"),
        Pause(10.13, "w1", 1.0),
        Cut(10.24, ("w0",), ("w6",), 0.02),
        Move(10.25, "w0", "join", ("s0",), "r0"),
    ],
    # w9 asks, and has not met w8, which w1 knows; it has forgotten three workers when w8 is back,
    # and w8 may be one of them by its age.
    "OverlookedNotAwaited": [
        Start(0.0, "w1"),
        Start(0.0, "w3"),
        Start(4.143, "w8"),
        away("w8", 4.209, 7.14),
        Start(4.337, "w9"),
        Ask(4.387, "w9", "r2"),
        Start(4.441, "w11"),
        Start(4.741, "w12"),
        Stop(5.705, "w11"),
        Stop(5.705, "w12"),
        Stop(6.11, "w3"),
    ],
    # w1 sends a heartbeat every eight seconds.
    "OwnIntervalOnly": [Start(0.0, "w0"), Start(0.0, "w1", pace=4.0), Broadcast(20.0, "w0", "r0")],
    # w1 vouches for w0, which is stopped, and leaves; w2 has never heard w0.
    "VouchedNamesForgotten": [
        Start(0.0, "w0"),
        Start(0.0, "w1"),
        Connect(3.0, "s0", "w0", (Move(3.0, "w0", "join", ("s0",), "r0"),)),
        Pause(10.0, "w0", 4.5),
        Start(10.1, "w2"),
        Move(10.3, "w2", "leave", ("s0",), "r1"),  # so w2 asks w1 whom it counts as alive
        Stop(10.5, "w1"),
        Move(10.6, "w2", "leave", ("s0",), "r0"),
    ],
    # w0 leaves s0 and then broadcasts, and is evicted while the publish of the leave hangs.
    "ChangesNotRepeated": [
        Start(0.0, "w0"),
        Start(0.0, "w1"),
        Connect(3.0, "s0", "w1", (Move(3.0, "w1", "join", ("s0",), "r0"),)),
        Hang(5.05, "w0", 12.0),
        Move(5.1, "w0", "leave", ("s0",), "r0"),
        Broadcast(5.2, "w0", "r0"),
    ],
    # w1 carries out what w0 calls for in a room, and is evicted; s1 joins the room anew, and then
    # w0 is evicted, too.
    "RepeatedToNewborn": [
        *(Start(0.0, f"w{number}") for number in range(3)),
        Connect(3.0, "s1", "w1", (Move(3.0, "w1", "join", ("s1",), "r0"),)),
        Cut(3.95, ("w1",), ("w0", "w2"), 10.0),
        Empty(4.0, "w0", "r0"),
        Cut(4.5, ("w0",), ("w1", "w2"), 18.0),
        Move(18.0, "w1", "join", ("s1",), "r0"),
    ],
    # w0 is evicted by w2 right after it has s0 join; that arrives after its next life has s0 leave.
    "FormerLifeGoesOn": [
        Start(0.0, "w0"),
        Start(0.0, "w1"),
        Start(0.5, "w2"),
        Connect(3.0, "s0", "w1"),
        Cut(5.0, ("w0",), ("w2",), 20.0),
        Storm(10.199, 0.01, Weather(reordering=1.0)),
        Move(10.2, "w0", "join", ("s0",), "r0"),
        Move(10.65, "w0", "leave", ("s0",), "r0"),
    ],
    # w0 has s0 leave while no other worker receives that, and broadcasts so much that its log is
    # full; it is evicted, and its next life broadcasts to the room.
    "OpenChangesTrimmed": [
        Start(0.0, "w0", tight=True),
        Start(0.5, "w1"),
        Connect(3.0, "s0", "w1", (Move(3.0, "w1", "join", ("s0",), "r0"),)),
        Mute(5.0, "w0", 11.0),
        Move(5.1, "w0", "leave", ("s0",), "r0"),
        *(Broadcast(5.2 + number / 10, "w0", "r1") for number in range(40)),
        Broadcast(20.0, "w0", "r0"),
    ],
    # w0 and w4 cannot hear each other. w4 reports s0 of w0 as unknown, and is evicted first.
    "UnknownNotRepeated": [
        Start(0.0, "w0"),
        Connect(3.0, "s0", "w0"),
        Start(14.0, "w4"),
        Move(19.5, "w4", "join", ("s0",), "r0"),
        Cut(25.0, ("w4",), ("w0",), 10.0),
        Cut(25.0, ("w0",), ("w4",), 10.0),
        Move(35.0, "w4", "leave", ("s0",), "r0"),
        Broadcast(47.0, "w4", "r0"),
    ],
    # A broadcast of w0 waits for the guards of a join, and behind it waits that s1 leaves; then w0
    # is evicted by w2, and its next life broadcasts to the room of s1.
    "GuardsOvertakenByNextLife": [
        Start(0.0, "w0"),
        Start(0.0, "w1"),
        Start(0.5, "w2"),
        Connect(3.0, "s0", "w1"),
        Connect(3.0, "s1", "w1", (Move(3.0, "w1", "join", ("s1",), "r1"),)),
        Cut(5.0, ("w0",), ("w2",), 20.0),
        Move(10.3, "w0", "join", ("s0",), "r0", thinks=2.0),
        Broadcast(10.35, "w0", "r0"),
        Move(10.4, "w0", "leave", ("s1",), "r1"),
        Broadcast(10.65, "w0", "r1"),
    ],
    # w1 gets two joins of one room by the next life of w0, of which the second one has the first
    # decided at once; then the third one waits for its guards.
    "OneGuardedJoinOfFormerLife": [
        Start(0.0, "w0"),
        Start(0.0, "w1"),
        Connect(3.0, "s0", "w1"),
        Connect(3.0, "s1", "w1"),
        Cut(3.3, ("w0",), ("w1",), 15.0),
        Move(3.4, "w0", "join", ("s0",), "r0", thinks=2.0),
        Move(4.4, "w0", "join", ("s1",), "r0", thinks=2.0),
        Move(6.9, "w0", "join", ("s0",), "r1", thinks=0.05),
        Broadcast(11.1, "w0", "r1"),
    ],
    # w1 reports s0 of w0 as unknown while w0 and w2 are away; both come back at once.
    "NoQuarantine": [
        Start(0.0, "w0"),
        Start(0.0, "w1"),
        Start(0.0, "w2"),
        Connect(3.0, "s0", "w0", (Move(3.0, "w0", "join", ("s0",), "r0"),)),
        away("w0", 4.0, 12.0),
        away("w2", 7.5, 11.97),
        Move(11.0, "w1", "leave", ("s0",), "r0"),
        Broadcast(11.5, "w2", "r0"),
    ],
    # w3 is new, and reports s0 of w0 as unknown while w0 and w2 are away; w2 comes back first.
    "UnmetNotHeardOut": [
        Start(0.0, "w0"),
        Start(0.0, "w2"),
        Connect(3.0, "s0", "w0", (Move(3.0, "w0", "join", ("s0",), "r0"),)),
        away("w0", 26.0, 32.0),
        away("w2", 26.0, 31.97),
        Start(27.7, "w3"),
        Move(30.5, "w3", "leave", ("s0",), "r0"),
        Broadcast(31.0, "w2", "r0"),
    ],
    # w0 counts w1 as dead, and is stopped; w1 comes back and reports s0 of w0 as unknown; w2, which
    # does not know that yet, broadcasts. Then w0 goes on, and does not listen to a dead worker.
    "SuspectsNotNamed": [
        Start(0.0, "w0"),
        Start(0.0, "w1"),
        Connect(3.0, "s0", "w0", (Move(3.0, "w0", "join", ("s0",), "r0"),)),
        away("w1", 4.5, 14.8),
        Start(13.2, "w2"),
        Pause(14.0, "w0", 12.0),
        Move(20.7, "w1", "leave", ("s0",), "r0"),
        Broadcast(21.5, "w2", "r0"),
    ],
    # w7 is new, and reports s3 of w1 as unknown, whose publish hangs. w2 has broadcast after that.
    "QuarantineRunsOut": [
        Start(0.0, "w1"),
        Start(0.0, "w2"),
        Connect(3.0, "s3", "w1"),
        Move(3.4, "w2", "join", ("s3",), "r0"),
        Hang(8.3, "w1", 15.0),
        Hang(10.9, "w2", 12.0),
        Start(11.2, "w7"),
        Move(13.0, "w7", "leave", ("s3",), "r1"),
        Broadcast(19.2, "w2", "r0"),
    ],
    # w3 is new, and reports s0 of w0 as unknown while w0 is stopped and w2 is away.
    "NoQuarantineForUnmet": [
        Start(0.0, "w0"),
        Start(0.0, "w2"),
        Connect(3.0, "s0", "w0", (Move(3.0, "w0", "join", ("s0",), "r0"),)),
        Pause(7.5, "w0", 15.0),
        away("w2", 10.0, 19.9),
        Start(13.0, "w3"),
        Move(16.0, "w3", "leave", ("s0",), "r0"),
        Broadcast(19.5, "w2", "r0"),
    ],
}
