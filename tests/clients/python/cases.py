"""Edge cases of WebSockets with the library `websockets`. `../node/cases.mjs` is the same script for `ws`.

Usage: cases.py URL, where URL is the data listener of a host that has `tests/guests/sockets` deployed as `sockets`. Prints a line
for each case; ends with 1 if one failed. Each case has an object of its own, which tells what came to it.
"""

import json
import sys
import time
import traceback
import urllib.request

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

HTTP = sys.argv[1].rstrip("/")
# Longer than any step takes on a busy machine: after this a case fails instead of hanging.
PATIENCE = 300
LARGEST = 32 << 20

cases = []


def case(function):
    """Such a function gets the name of an object that no other case uses."""
    cases.append(function)
    return function


def same(seen, wanted):
    assert seen == wanted, f"{short(seen)} where {short(wanted)} was to come"


def short(value):
    text = repr(value)
    return text if len(text) < 200 else f"{text[:100]}... ({len(value)} long)"


class Peer:
    """A socket of an object. Leaving it closes it."""

    def __init__(self, room, query="", **options):
        url = f"{HTTP.replace('http', 'ws', 1)}/sockets/{room}?{query}"
        self.connecting = connect(url, max_size=None, proxy=None, open_timeout=PATIENCE, close_timeout=PATIENCE, **options)

    def __enter__(self):
        self.ws = self.connecting.__enter__()
        return self

    def __exit__(self, *exception):
        return self.connecting.__exit__(*exception)

    def send(self, message, **options):
        self.ws.send(message, **options)

    def hear(self):
        return self.ws.recv(timeout=PATIENCE)

    def order(self, *ops):
        """Has the object run this op in a turn of this socket, and returns the result."""
        self.send("!" + json.dumps(ops))
        answer = self.hear()
        assert answer.startswith("="), short(answer)
        return json.loads(answer[1:])

    def ping(self, payload):
        assert self.ws.ping(payload).wait(PATIENCE), "no pong"

    def closed(self):
        """Returns the code and reason of the host's close frame; None and "" without. Anything before it is an error."""
        try:
            message = self.hear()
        except ConnectionClosed as closed:
            return (closed.rcvd.code if closed.rcvd.code != 1005 else None, closed.rcvd.reason) if closed.rcvd else "broken"
        raise AssertionError(f"{short(message)} where a close was to come")

    def close_without_code(self):
        with self.ws.send_context():
            self.ws.protocol.send_close()

    def vanish(self):
        self.ws.close_socket()


def get(room, path=""):
    with urllib.request.urlopen(f"{HTTP}/sockets/{room}{path}", timeout=PATIENCE) as answer:
        return json.load(answer)


def do(room, *ops):
    """The same in a turn without a socket."""
    with urllib.request.urlopen(f"{HTTP}/sockets/{room}/do", json.dumps(ops).encode(), timeout=PATIENCE) as answer:
        return json.load(answer)


def close_of(of):
    """Waits until the object got a close event, once: code, reason, whether it was clean."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        closes = [event for event in get(of, "/events") if event["event"] == "close"]
        if closes:
            same(len(closes), 1)
            return closes[0]["code"], closes[0]["reason"], closes[0]["was_clean"]
        time.sleep(0.02)
    raise AssertionError("the object received no close event")


@case
def messages_of_all_sizes_come_back(room):
    with Peer(room) as peer:
        same(peer.ws.protocol.extensions, [])  # it offers to compress, which the host does not take up
        for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20]:
            for message in ["x" * size, bytes(range(256)) * (size // 256) + bytes(size % 256)]:
                peer.send(message)
                same(peer.hear(), message)
        peer.send("\0 häj 𝄞")
        same(peer.hear(), "\0 häj 𝄞")


@case
def fragments_with_pings_between_are_one_message(room):
    with Peer(room) as peer:

        def fragments():
            yield b"one "
            peer.ping(b"between")
            yield b"\xe2"  # a character may end in another fragment
            peer.ping(b"")
            yield b"\x82"
            yield b""
            yield b"\xac"

        peer.send(fragments(), text=True)
        same(peer.hear(), "one €")
        peer.send([bytes([n % 256]) for n in range(2_000)])
        same(peer.hear(), bytes(n % 256 for n in range(2_000)))
    same(len([event for event in get(room, "/events") if event["event"] == "message"]), 2)


@case
def thirty_two_mebibytes_go_both_ways(room):
    with Peer(room) as peer:
        block = bytes(range(251))
        message = (block * (LARGEST // len(block) + 1))[:LARGEST]
        peer.send(message)
        assert peer.hear() == message, "other bytes"
        text = "€" * (LARGEST // 3) + "xx"
        peer.send([text[: LARGEST // 7], text[LARGEST // 7 :]])
        assert peer.hear() == text, "another text"
        same(peer.order("report")[0]["count"], 1)


@case
def one_byte_more_is_1009(room):
    with Peer(room) as peer:
        peer.send(b"still here")
        same(peer.hear(), b"still here")
        try:
            peer.send(bytes(LARGEST + 1))
        except ConnectionClosed:
            pass  # it was told before it had sent all
        same(peer.closed()[0], 1009)
    same(close_of(room)[::2], (1009, False))


@case
def one_byte_more_in_fragments_is_1009(room):
    with Peer(room) as peer:
        try:
            peer.send(bytes(1 << 20) for _ in range(33))
        except ConnectionClosed:
            pass
        same(peer.closed()[0], 1009)
    same(close_of(room)[::2], (1009, False))


@case
def bad_utf8_is_1007(room):
    with Peer(room) as peer:
        peer.send(b"well \xff\xfe", text=True)
        same(peer.closed()[0], 1007)
    same(close_of(room)[::2], (1007, False))


@case
def bad_utf8_over_fragments_is_1007(room):
    with Peer(room) as peer:
        try:
            peer.send([b"\xed", b"\xa0\x80"], text=True)  # a lone surrogate
        except ConnectionClosed:
            pass
        same(peer.closed()[0], 1007)
    same(close_of(room)[::2], (1007, False))


@case
def bad_utf8_is_no_matter_in_bytes(room):
    with Peer(room) as peer:
        peer.send(b"\xff\xfe")
        same(peer.hear(), b"\xff\xfe")


@case
def who_vanishes_has_closed_with_1006(room):
    with Peer(room) as peer:
        peer.send("hello")
        same(peer.hear(), "hello")
        peer.vanish()
    same(close_of(room), (1006, "", False))


@case
def who_vanishes_in_a_message_has_closed_with_1006(room):
    with Peer(room) as peer:

        def fragments():
            yield "never"
            peer.ping(b"")  # it is there by now
            peer.vanish()
            yield " finished"

        try:
            peer.send(fragments())
        except ConnectionClosed:
            pass
    same(close_of(room), (1006, "", False))
    same([event["event"] for event in get(room, "/events")], ["close"])


@case
def close_frames_of_the_client(room):
    for n, (code, reason) in enumerate([(1000, ""), (1001, "away"), (3000, "ü"), (4999, "r" * 123)]):
        with Peer(f"{room}-{n}") as peer:
            peer.ws.close(code, reason)
            same(peer.closed(), (code, reason))
        same(close_of(f"{room}-{n}"), (code, reason, True))
    with Peer(f"{room}-none") as peer:
        peer.close_without_code()
        same(peer.closed(), (None, ""))
    same(close_of(f"{room}-none"), (1005, "", True))


@case
def close_frames_of_the_object(room):
    for n, (code, reason) in enumerate([(1000, ""), (1001, "away"), (3000, "ü"), (4999, "r" * 123)]):
        with Peer(f"{room}-{n}") as peer:
            peer.send("!" + json.dumps([{"send": {"text": "last words"}}, {"close": {"code": code, "reason": reason}}]))
            same(peer.hear(), "last words")
            same(peer.closed(), (code, reason))
        same(close_of(f"{room}-{n}"), (code, reason, True))
    with Peer(f"{room}-none") as peer:
        peer.send('![{"close": {}}]')
        same(peer.closed(), (None, ""))
    same(close_of(f"{room}-none"), (1005, "", True))


@case
def a_turn_that_fails_is_1011(room):
    with Peer(room) as peer:
        peer.send('![{"send": {"text": "never"}}, "fail"]')
        same(peer.closed()[0], 1011)
    same(close_of(room)[0], 1011)


@case
def a_thousand_messages_in_order(room):
    with Peer(room) as peer:
        messages = [f"message {n}" if n % 3 else b"message %d" % n for n in range(1_000)]
        for message in messages:
            peer.send(message)
        same([peer.hear() for _ in messages], messages)
        events = [event for event in get(room, "/events") if event["event"] == "message"]
        same([event.get("text", event.get("bytes")) for event in events], [m if isinstance(m, str) else len(m) for m in messages])


@case
def a_thousand_messages_of_one_turn_in_order(room):
    with Peer(room) as peer:
        same(do(room, *({"broadcast": {"text": str(n)}} for n in range(1_000))), [1] * 1_000)
        same([peer.hear() for _ in range(1_000)], [str(n) for n in range(1_000)])


@case
def sub_protocols(room):
    offers = ["chat.v2", "chat.v1"]
    for query, offered, chosen in [
        ("protocol=first", offers, "chat.v2"),
        ("protocol=chat.v1", offers, "chat.v1"),
        ("protocol=first", None, None),
        ("", offers, None),
    ]:
        with Peer(room, query, subprotocols=offered) as peer:
            same(peer.ws.subprotocol, chosen)


@case
def the_host_answers_for_the_object(room):
    with Peer(room) as peer:
        same(peer.order({"auto_response": ["ping", "pong"]}), [None])
        turns = get(room)["turns"]
        for _ in range(10):
            peer.send("ping")
            same(peer.hear(), "pong")
        peer.ping(b"x" * 125)
        report = get(room)
        same(report["turns"], turns + 1)
        assert report["sockets"][0]["auto_response_time"] > 0
        peer.send(b"ping")
        same(peer.hear(), b"ping")


@case
def a_refused_upgrade_is_an_answer(room):
    try:
        with Peer(room, "accept=0&status=403"):
            raise AssertionError("it was accepted")
    except InvalidStatus as refused:
        same((refused.response.status_code, refused.response.body), (403, b"refused"))
    same(get(room)["count"], 0)


@case
def broadcasts(room):
    with Peer(room, "tag=a&tag=b") as one, Peer(room, "tag=b") as two, Peer(room) as three:
        same(do(room, {"broadcast": {"text": "to b", "tag": "b"}}, {"broadcast": {"text": "to all"}}), [2, 3])
        same([peer.hear() for peer in (one, one, two, two)], ["to b", "to all"] * 2)
        same(three.hear(), "to all")
        two.vanish()
        close_of(room)
        same(do(room, {"broadcast": {"text": "those left"}}), [2])
        same((one.hear(), three.hear()), ("those left", "those left"))


def main():
    failed = 0
    for function in cases:
        began = time.monotonic()
        try:
            function(function.__name__.replace("_", "-"))
            outcome = "ok"
        except Exception:
            failed += 1
            outcome = "FAILED\n" + traceback.format_exc()
        print(f"{function.__name__} ({time.monotonic() - began:.1f} s): {outcome}", flush=True)
    print(f"{len(cases) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
