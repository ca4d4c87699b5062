"""From the journal to the sinks: nothing lost, nothing given up without a word, nobody delayed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from strongroom.audit.formats import render
from strongroom.audit.journal import Journal
from strongroom.audit.lane import EVERY, LONGEST_PAUSE, Lane, Route
from strongroom.audit.reading import Reader
from strongroom.audit.shipping import Shipper, progress
from strongroom.audit.sinkgate import SinkGate
from strongroom.audit.sinks.base import Entry, TooLargeError
from strongroom.audit.sinks.files import FileSink
from strongroom.audit.sinks.syslog import SyslogSink
from strongroom.audit.wire import Reach
from strongroom.errors import InvalidRequestError, UnavailableError
from strongroom.testing.clock import FakeClock
from tests.scale import scaled
from tests.servers.https import Authority, Request, Response, serving
from tests.servers.receivers import dying, honest, receiving
from tests.unit.audit_sink_support import Catcher, ids_in, journal_of, refusing

CHILD = """
import sys
from strongroom.audit.formats import render
from strongroom.audit.journal import Journal
from strongroom.audit.lane import Route
from strongroom.audit.shipping import Shipper
from strongroom.audit.sinks.opening import open_sink
path, url, ca = sys.argv[1:]
sink = open_sink(url, secret="whsec_" + "c3Ryb25ncm9vbS10ZXN0cy1vZi13ZWJob29rcw==", ca=ca)
shipper = Shipper(path, [Route("siem", sink, batch=7)])
while not shipper.step():
    pass
"""


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    made = Authority()
    yield made
    made.close()


def lane_to(sink: Catcher, path: Path, clock: FakeClock | None = None, **options: Any) -> Lane:
    append = options.pop("append", None)
    return Lane(path, Route("siem", sink, **options), clock or FakeClock(), append)


def run(lane: Lane) -> None:
    """Steps until there is nothing to do at once."""
    while not lane.step():
        pass


def records_of(path: Path, kind: str) -> list[dict[str, Any]]:
    return [record for _, _, record in Reader(path).records() if record["kind"] == kind]


# Nothing is lost


def test_every_record_arrives_once_and_in_order(tmp_path: Path) -> None:
    """Of all kinds, over segments, in batches within their bound."""
    journal = journal_of(tmp_path, 50, segment_bytes=4096)
    sink = Catcher()
    run(lane_to(sink, tmp_path, batch=8))
    assert sink.ids == ids_in(tmp_path)
    assert len(list((tmp_path / "chains").rglob("*.jsonl"))) > 2
    assert max(map(len, sink.batches)) == 8
    journal.close()


def test_all_chains_arrive_and_none_starves(tmp_path: Path) -> None:
    """A chain with one record does not wait for one with many."""
    one, other = journal_of(tmp_path, 40), journal_of(tmp_path, 1)
    sink = Catcher()
    run(lane_to(sink, tmp_path, batch=4))
    assert sorted(sink.ids) == sorted(ids_in(tmp_path))
    small = {entry.id.partition(":")[0] for batch in sink.batches[:2] for entry in batch}
    assert len(small) == 2
    one.close()
    other.close()


def test_a_receiver_that_is_down_gets_everything_later(tmp_path: Path) -> None:
    """Pauses double to their bound, on the clock; what was refused comes first when it answers."""
    journal_of(tmp_path, 3).close()
    clock, sink = FakeClock(), Catcher(refusing)
    lane = lane_to(sink, tmp_path, clock)
    tried = []
    for second in range(200):
        before = sink.attempts
        assert lane.step() == EVERY
        tried += [second] * (sink.attempts - before)
        clock.advance(EVERY)
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert pauses[:6] == [1, 1, 2, 4, 8, 16]
    assert max(pauses) <= LONGEST_PAUSE
    assert isinstance(lane.state.error, UnavailableError)
    sink.answer = None
    clock.advance(LONGEST_PAUSE)
    run(lane)
    assert sink.ids == ids_in(tmp_path)
    assert lane.state.error is None


def test_a_receiver_that_is_down_is_asked_with_few_records(tmp_path: Path) -> None:
    """What an attempt costs the program is small while nothing comes of it; then all go at once again."""
    journal_of(tmp_path, 99).close()
    sizes: list[int] = []

    def down_three_times(entries: Sequence[Entry]) -> None:
        sizes.append(len(entries))
        if len(sizes) <= 3:
            raise UnavailableError("down")

    clock, sink = FakeClock(), Catcher(down_three_times)
    lane = lane_to(sink, tmp_path, clock)
    for _ in range(4):
        run(lane)
        clock.advance(LONGEST_PAUSE)
    assert sizes == [100, 10, 10, 10, 90]
    assert sink.ids == ids_in(tmp_path)


def test_whoever_ships_next_goes_on_where_the_last_stopped(tmp_path: Path) -> None:
    """A restart repeats nothing that was taken, and skips nothing that was not."""
    journal = journal_of(tmp_path, 5)
    first, second = Catcher(), Catcher()
    lane = lane_to(first, tmp_path)
    run(lane)
    lane.close()
    journal.append({"kind": "event", "phase": "intent", "op": "get", "name": "later"})
    run(lane_to(second, tmp_path))
    assert first.ids + second.ids == ids_in(tmp_path)
    assert len(second.ids) == 1
    journal.close()


def test_a_crash_after_the_receiver_took_a_batch_repeats_it_by_the_same_ids(tmp_path: Path) -> None:
    """At least once: the cursor moves after the receiver, never before."""
    journal_of(tmp_path, 4).close()

    class Cut(BaseException):
        pass

    def take_and_die(entries: Sequence[Entry]) -> None:
        taken.extend(entry.id for entry in entries)
        raise Cut

    taken: list[str] = []
    lane = lane_to(Catcher(take_and_die), tmp_path)
    with pytest.raises(Cut):
        lane.step()
    lane.close()
    again = Catcher()
    run(lane_to(again, tmp_path))
    assert again.ids == taken == ids_in(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"{", b"null", b'{"v":1}', b'{"v":1,"chains":{"x":[1]},"sent":"y"}'])
def test_a_damaged_cursor_sends_again_and_loses_nothing(damage: bytes, tmp_path: Path) -> None:
    """Twice is better than never."""
    journal_of(tmp_path, 3).close()
    lane = lane_to(Catcher(), tmp_path)
    run(lane)
    lane.close()
    (tmp_path / "sinks/siem/cursor.json").write_bytes(damage)
    sink = Catcher()
    run(lane_to(sink, tmp_path))
    assert sink.ids == ids_in(tmp_path)


def test_half_a_line_is_not_sent(tmp_path: Path) -> None:
    """What a writer has not finished is no record yet."""
    journal_of(tmp_path, 2).close()
    (segment,) = (tmp_path / "chains").rglob("*.jsonl")
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-5])
    sink = Catcher()
    lane = lane_to(sink, tmp_path)
    run(lane)
    assert len(sink.ids) == whole.count(b"\n") - 1
    segment.write_bytes(whole)
    run(lane)
    assert sink.ids == ids_in(tmp_path)


def test_kill_9_of_a_shipper_loses_no_record(tmp_path: Path, authority: Authority) -> None:
    """Killed when a request has arrived, before or after its answer; the next process goes on."""
    received: list[str] = []
    rounds = scaled(40, "kills of a shipper", share=20)
    journal_of(tmp_path, 20 + 14 * rounds).close()  # more than two batches for each
    child: list[subprocess.Popen[bytes]] = []

    def respond(request: Request) -> Response:
        received.extend(f"{one['chain']}:{one['seq']}" for one in json.loads(request.body)["data"])
        if kill_at and len(server.requests) == kill_at[0]:
            child[-1].kill()
            child[-1].wait()
        return Response(204, b"")

    for number in range(rounds + 1):
        kill_at = [] if number == rounds else [1 + number % 3]
        with serving(respond, authority) as server:
            command = [sys.executable, "-c", CHILD, str(tmp_path), server.url, str(server.ca_file)]
            child.append(subprocess.Popen(command))
            child[-1].wait(60)
    assert [one.returncode for one in child] == [-9] * rounds + [0]
    assert set(received) == set(ids_in(tmp_path))
    assert list(dict.fromkeys(received)) == ids_in(tmp_path)


def test_a_receiver_that_dies_and_comes_back_has_everything(tmp_path: Path, authority: Authority) -> None:
    """Syslog, which acknowledges nothing: what one incarnation left unread the next one gets."""
    journal_of(tmp_path, 20).close()
    clock = FakeClock()
    context = authority.server_context()
    with receiving(dying, context) as first:
        sink = SyslogSink("127.0.0.1", first.port, reach=Reach(authority.ca_file, timeout=5))
        lane = Lane(tmp_path, Route("siem", sink), clock)
        lane.step()
        assert lane.state.error is not None
    lane.step()
    clock.advance(LONGEST_PAUSE)
    with receiving(honest, context, first.port) as second:
        run(lane)
        found = [json.loads(message.partition(b" - ")[2]) for message in second.messages]
    assert [f"{record['chain']}:{record['seq']}" for record in found] == ids_in(tmp_path)


def test_a_receiver_that_comes_and_goes_misses_nothing_of_busy_writers(tmp_path: Path) -> None:
    """Refused, taken and then lost on the way back, too large: in the end each chain is there, in order."""
    chance, clock = random.Random(6), FakeClock()
    received: dict[str, list[int]] = {}

    def flapping(entries: Sequence[Entry]) -> None:
        fate = chance.choice(["taken", "taken", "down", "large", "answer lost"])
        if fate == "large" and len(entries) > 1:
            raise TooLargeError("too large")
        if fate in ("taken", "answer lost"):
            for entry in entries:
                received.setdefault(entry.fields["chain"], []).append(entry.fields["seq"])
        if fate != "taken":
            raise UnavailableError("down")

    count = scaled(3000, "records to a receiver that comes and goes", share=15)
    journals = [Journal.open(tmp_path, segment_bytes=4096) for _ in range(3)]
    lane = lane_to(Catcher(flapping), tmp_path, clock, batch=13)
    for number in range(count):
        event = {"kind": "event", "phase": "intent", "op": "get", "name": f"n/{number}"}
        chance.choice(journals).append(event, durable=False)
        if not number % 7:
            chance.choice(journals).flush()
            lane.step()
            clock.advance(LONGEST_PAUSE)
    for journal in journals:
        journal.close()
    while lane.state.behind or lane.state.error:
        lane.step()
        clock.advance(LONGEST_PAUSE)
    expected = {chain: [line.seq for line in Reader(tmp_path).chain(chain)] for chain in received}
    assert {chain: list(dict.fromkeys(seqs)) for chain, seqs in received.items()} == expected
    assert len(expected) == len(Reader(tmp_path).chains())


@pytest.mark.parametrize("garbage", [b"", b"{}", b"\xff\x00", b"[1]", b'{"kind":"event"}', b"{" * 10_000])
def test_a_line_that_is_no_record_stops_nothing(garbage: bytes, tmp_path: Path) -> None:
    """Altered by whoever can: a strict receiver gets all others, and the journal says which it did not."""

    def strict(entries: Sequence[Entry]) -> None:
        for entry in entries:
            if not render(entry.fields, "ocsf", line=entry.line):
                raise UnavailableError("malformed")

    journal = journal_of(tmp_path, 5)
    (segment,) = (tmp_path / "chains").rglob("*.jsonl")
    lines = segment.read_bytes().split(b"\n")
    segment.write_bytes(b"\n".join([*lines[:2], garbage, *lines[3:]]))
    sink = Catcher(strict)
    clock = FakeClock()
    lane = lane_to(sink, tmp_path, clock, append=journal_of(tmp_path, 0).append)
    for _ in range(4):
        run(lane)
        clock.advance(LONGEST_PAUSE)
    (skipped,) = records_of(tmp_path, "skipped")
    assert (skipped["count"], skipped["from"].partition(":")[2]) == (1, "2")
    assert set(sink.ids) == set(ids_in(tmp_path)) - {skipped["from"], ":"}
    journal.close()


def test_each_record_says_on_which_host_its_writer_runs(tmp_path: Path) -> None:
    """Which only the first record of a chain tells; who ships next still knows."""
    journal = journal_of(tmp_path / "journal", 2)
    for _ in range(2):
        lane = Lane(tmp_path / "journal", Route("file", FileSink(tmp_path / "out", "ecs")), FakeClock())
        run(lane)
        lane.close()
        journal.append({"kind": "event", "phase": "intent", "op": "get", "name": "later"})
    told = [json.loads(line)["host"]["name"] for line in (tmp_path / "out").read_bytes().splitlines()]
    assert told == [os.uname().nodename] * 4
    journal.close()


# A receiver that refuses sizes


def test_a_batch_that_is_too_large_is_sent_in_parts(tmp_path: Path) -> None:
    """A bound on requests costs requests, not records."""

    def at_most_three(entries: Sequence[Entry]) -> None:
        if len(entries) > 3:
            raise TooLargeError("too large")

    journal_of(tmp_path, 20).close()
    sink = Catcher(at_most_three)
    run(lane_to(sink, tmp_path))
    assert sink.ids == ids_in(tmp_path)


def test_a_record_that_is_too_large_is_clipped(tmp_path: Path) -> None:
    """Those beside it arrive whole, and it says itself that it is not."""

    def at_most_1000(entries: Sequence[Entry]) -> None:
        if sum(len(entry.line) for entry in entries) > 1000:
            raise TooLargeError("too large")

    with_long = {"kind": "event", "phase": "intent", "op": "get", "name": "x" * 2000}
    journal = journal_of(tmp_path, 2)
    journal.append(with_long)
    journal.close()
    sink = Catcher(at_most_1000)
    run(lane_to(sink, tmp_path))
    assert sink.ids == ids_in(tmp_path)
    clipped = [entry for batch in sink.batches for entry in batch if entry.fields.get("clipped")]
    assert [len(entry.fields["name"]) for entry in clipped] == [512 + len("…(+1488)")]


def test_a_record_refused_in_every_form_is_skipped_with_a_word(tmp_path: Path) -> None:
    """The journal says which one, and the rest goes on."""

    def never_that_one(entries: Sequence[Entry]) -> None:
        if any(entry.fields["seq"] == 2 for entry in entries):
            raise TooLargeError("too large")

    journal = journal_of(tmp_path, 3)
    sink = Catcher(never_that_one)
    lane = lane_to(sink, tmp_path, append=journal.append)
    run(lane)
    run(lane)  # what it said about it
    (skipped,) = records_of(tmp_path, "skipped")
    assert (skipped["sink"], skipped["count"], skipped["from"]) == ("siem", 1, ids_in(tmp_path)[2])
    assert sink.ids == [each for each in ids_in(tmp_path) if each != skipped["from"]]
    journal.close()


def test_a_receiver_that_refuses_every_size_is_down(tmp_path: Path) -> None:
    """It is not the records: none is given up, and it is not asked about each one of five hundred."""

    def none(_: Sequence[Entry]) -> None:
        raise TooLargeError("too large")

    journal = journal_of(tmp_path, 500)
    sink = Catcher(none)
    lane = lane_to(sink, tmp_path, append=journal.append)
    assert lane.step() == EVERY
    assert isinstance(lane.state.error, UnavailableError)
    assert sink.attempts < 25
    assert records_of(tmp_path, "skipped") == []
    journal.close()


def test_records_that_are_being_added_are_gathered(tmp_path: Path) -> None:
    """A request for each would cost the program that adds them more than the records do."""
    journal = journal_of(tmp_path, 3)
    event = {"kind": "event", "phase": "intent", "op": "get", "name": "meanwhile"}
    lane = lane_to(Catcher(lambda _: journal.append(event)), tmp_path)
    assert lane.step() == EVERY
    assert lane.state.behind > 0
    journal.close()


def test_a_gate_whose_receiver_refuses_a_size_refuses_no_operation(tmp_path: Path) -> None:
    """Where a sink is the gate, a long name is clipped on its way, not a reason to refuse the secret."""

    def at_most_600(entries: Sequence[Entry]) -> None:
        if sum(len(entry.line) for entry in entries) > 600:
            raise TooLargeError("too large")

    sink = Catcher(at_most_600)
    gate = SinkGate(sink, "siem", FakeClock())
    gate.append({"kind": "event", "phase": "intent", "op": "get", "name": "x" * 2000})
    assert [entry.fields["kind"] for batch in sink.batches for entry in batch] == ["chain", "event"]


# A sink that falls behind


def test_too_far_behind_the_oldest_are_skipped_and_the_journal_says_so(tmp_path: Path) -> None:
    """What was skipped and what arrives is everything; the newest are kept."""
    journal = journal_of(tmp_path, 200)
    sink = Catcher(refusing)
    lane = lane_to(sink, tmp_path, append=journal.append, max_lag=10_000)
    lane.step()
    assert lane.state.behind <= 10_000
    sink.answer = None
    lane._not_before = 0
    run(lane)
    (skipped,) = records_of(tmp_path, "skipped")
    everything = ids_in(tmp_path)
    assert everything[: skipped["count"]] + sink.ids == everything
    assert (skipped["from"], skipped["to"]) == (everything[0], everything[skipped["count"] - 1])
    assert progress(tmp_path)["siem"].skipped == skipped["count"] > 0
    journal.close()


@pytest.mark.parametrize("append", [None, refusing])
def test_nothing_is_given_up_when_the_journal_cannot_be_told(append: Any, tmp_path: Path) -> None:
    """Without a word nothing goes missing: it stays behind, and catches up."""
    journal_of(tmp_path, 100).close()
    sink = Catcher()
    lane = lane_to(sink, tmp_path, append=append, max_lag=1000)
    run(lane)
    assert sink.ids == ids_in(tmp_path)


def test_with_refuse_operations_wait_until_it_has_caught_up(tmp_path: Path) -> None:
    """In every process of the journal, whichever does the sending; nothing is skipped."""
    journal = journal_of(tmp_path, 100)
    clock, sink = FakeClock(), Catcher(refusing)
    route = Route("siem", sink, on_full="refuse", max_lag=1000)
    here, there = (
        Shipper(tmp_path, [route], append=journal.append, clock=clock),
        Shipper(tmp_path, [route], append=journal.append, clock=clock),
    )
    here.step()
    there.step()
    for shipper in (here, there):
        refusal = shipper.refusal()
        assert isinstance(refusal, UnavailableError)
        assert refusal.performed is False
    sink.answer = None
    clock.advance(LONGEST_PAUSE)
    while not here.step():
        pass
    there.step()
    assert here.refusal() is None
    assert there.refusal() is None
    assert sink.ids == ids_in(tmp_path)
    journal.close()


# Several sinks, several processes


def test_a_sink_that_hangs_delays_neither_the_others_nor_the_journal(tmp_path: Path) -> None:
    """While one never returns the other gets all, records are taken, and closing ends."""
    journal = journal_of(tmp_path, 10)
    hung, leave, arrived = threading.Event(), threading.Event(), threading.Event()

    def hang(_: Sequence[Entry]) -> None:
        hung.set()
        leave.wait(30)

    quick = Catcher(lambda _: arrived.set())
    shipper = Shipper(tmp_path, [Route("hung", Catcher(hang)), Route("quick", quick)])
    shipper.start()
    assert hung.wait(10)
    assert arrived.wait(10)
    journal.append({"kind": "event", "phase": "intent", "op": "get", "name": "meanwhile"})
    shipper.close(drain=1)
    assert quick.ids == ids_in(tmp_path)
    leave.set()
    journal.close()


def test_closing_sends_what_there_is(tmp_path: Path) -> None:
    """A short process need not wait for the next look."""
    journal = journal_of(tmp_path, 1)
    sink, clock = Catcher(), FakeClock()
    shipper = Shipper(tmp_path, [Route("siem", sink)], clock=clock)
    shipper.start()
    journal.append({"kind": "event", "phase": "intent", "op": "get", "name": "last"})
    shipper.close(drain=10)
    assert sink.ids == ids_in(tmp_path)
    assert sink.closed
    journal.close()


def test_one_process_sends_and_another_takes_over(tmp_path: Path) -> None:
    """Two shippers of one journal tell nothing twice; when the first ends the second goes on."""
    journal = journal_of(tmp_path, 3)
    first, second = Catcher(), Catcher()
    here, there = lane_to(first, tmp_path), lane_to(second, tmp_path)
    run(here)
    run(there)
    assert (here.state.holder, there.state.holder, second.ids) == (True, False, [])
    here.close()
    journal.append({"kind": "event", "phase": "intent", "op": "get", "name": "later"})
    run(there)
    assert first.ids + second.ids == ids_in(tmp_path)
    journal.close()


def test_a_forked_child_leaves_the_sending_to_its_parent(tmp_path: Path) -> None:
    """It neither sends nor takes the parent's lock away, also when it ends."""
    journal = journal_of(tmp_path, 3)
    sink = Catcher()
    shipper = Shipper(tmp_path, [Route("siem", sink)])
    while not shipper.step():
        pass
    journal.append({"kind": "event", "phase": "intent", "op": "get", "name": "after"})
    child = os.fork()
    if not child:
        shipper.after_fork()
        shipper.step()
        os._exit(0 if not shipper.status()["siem"].holder else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    other = Shipper(tmp_path, [Route("siem", Catcher())])
    other.step()
    assert other.status()["siem"].holder is False
    while not shipper.step():
        pass
    assert sink.ids == ids_in(tmp_path)
    shipper.close()
    journal.close()


def test_whoever_only_looks_sees_how_far_each_sink_is(tmp_path: Path) -> None:
    """Bytes behind, records sent, and when it last took something."""
    journal = journal_of(tmp_path, 4)
    run(lane_to(Catcher(), tmp_path, clock=FakeClock()))
    assert progress(tmp_path)["siem"].behind == 0
    assert progress(tmp_path)["siem"].sent == len(ids_in(tmp_path))
    assert progress(tmp_path)["siem"].last == "2026-01-01T00:00:00.000000000Z"
    journal.append({"kind": "event", "phase": "intent", "op": "get", "name": "later"})
    assert progress(tmp_path)["siem"].behind > 100
    journal.close()


def test_what_a_sink_keeps_is_private(tmp_path: Path) -> None:
    """Folder and files are their owner's alone."""
    journal_of(tmp_path, 1).close()
    run(lane_to(Catcher(), tmp_path))
    folder = tmp_path / "sinks/siem"
    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}
    assert modes == {"siem": 0o700, "lock": 0o600, "cursor.json": 0o600}


def test_a_journal_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    """A sink may be set up before the first record."""
    sink, path = Catcher(), tmp_path / "journal"
    lane = lane_to(sink, path)
    assert lane.step() == EVERY
    assert lane.state.error is None
    assert {each.stat().st_mode & 0o777 for each in (path, path / "sinks")} == {0o700}
    journal_of(path, 1).close()
    run(lane)
    assert sink.ids == ids_in(path)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 129, "a\nb", "ä"])
def test_a_sinks_name_is_a_folders_name(name: str) -> None:
    """And nothing that leads elsewhere."""
    with pytest.raises(InvalidRequestError):
        Route(name, Catcher())


def test_two_sinks_of_one_name_are_refused(tmp_path: Path) -> None:
    """They would move one cursor."""
    with pytest.raises(InvalidRequestError, match="one name"):
        Shipper(tmp_path, [Route("siem", Catcher()), Route("siem", Catcher())])
