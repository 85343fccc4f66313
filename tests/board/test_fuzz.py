"""Both ends under fire: whatever comes over the line, the server keeps its memory and its word, and the client its temper."""

from __future__ import annotations

import random
import struct
import zlib

import pytest
from host_server import HostProgram, NoisyLine
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_project import expected, samples

from vmcu.board.client import Client
from vmcu.board.frames import HEADER, MAGIC, PAYLOAD_MAX, VERSION, Decoder, Frame, encode
from vmcu.board.link import Link
from vmcu.board.protocol import REPLY, Command, Status
from vmcu.errors import VmcuError

SESSION = 0xC0FFEE11
FRAMES = 200_000
INPUT_BYTES, OUTPUT_BYTES = 64, 4  # of the tiny project
COMMANDS = [int(c) for c in Command]


def at_the_edge(rng: random.Random) -> bytes:
    """A well-formed request for bytes at the end of what there is, or beyond."""
    offset = rng.choice((0, 1, 3, 4, 60, 63, 64, 65, 2048, 2051, 2052, 2053, 2**31, 2**32 - 1))
    count = rng.choice((0, 1, 4, 5, 64, 65, 504, 508, 509, 2052, 65535))
    port = bytes([rng.choice((0, 0, 0, 1, 255)), 0, 0, 0])
    place = struct.pack("<IH", offset, count)
    command, payload = rng.choice(
        (
            (Command.READ, port + place),
            (Command.PEEK, place),
            (Command.WRITE, port + place[:4] + bytes(min(count, 504))),
            (Command.PROFILE, struct.pack("<HH", offset & 0xFFFF, count)),
            (Command.RUN, b""),
        )
    )
    return encode(Frame(command, rng.randrange(65536), SESSION, payload))


def hostile(rng: random.Random) -> bytes:
    """One frame or something that looks like it."""
    if rng.random() < 0.2:
        return at_the_edge(rng)
    kind = rng.randrange(12)
    command = rng.choice(COMMANDS) if rng.random() < 0.9 else rng.randrange(256)
    session = SESSION if rng.random() < 0.9 else rng.randrange(2**32)
    size = rng.choice((0, 1, 2, 4, 6, 8, 9, 10, 12, 72, rng.randrange(PAYLOAD_MAX + 1)))
    payload = rng.choice(
        (
            rng.randbytes(size),
            bytes(size),
            b"\xff" * size,
            bytes([rng.randrange(3)]) + bytes(max(size - 1, 0)),
        )
    )
    good = encode(Frame(command, rng.randrange(65536), session, payload[:PAYLOAD_MAX]))
    at = rng.randrange(len(good))
    if kind < 6:
        return good  # well-formed, any content
    if kind == 6:
        return good[:at] + bytes([good[at] ^ 1 << rng.randrange(8)]) + good[at + 1 :]
    if kind == 7:
        return good[:at]
    if kind == 8:
        return good * rng.randrange(2, 4)
    if kind == 9:  # a length beyond the most
        body = (
            HEADER.pack(MAGIC, VERSION, command, 1, rng.randrange(PAYLOAD_MAX + 1, 65536), session) + payload
        )
        return body + struct.pack("<I", zlib.crc32(body[2:]))
    if kind == 10:
        return rng.randbytes(rng.randrange(1, 40))
    return MAGIC + good  # a beginning that is none


def fire(host: HostProgram, frames: int, seed: int) -> None:
    """Frames at the server; then the server must still compute, and everything it said must have been sound."""
    rng = random.Random(seed)
    stream = [encode(Frame(Command.HELLO, 1, SESSION))]
    stream += [hostile(rng) for _ in range(frames)]
    stream.append(b"\n" * (PAYLOAD_MAX + 64))  # completes whatever frame is still open
    data = samples()[2][0]
    last = SESSION ^ 1
    for number, (command, payload) in enumerate(
        (
            (Command.HELLO, b""),
            (Command.RESET, b""),
            (Command.WRITE, struct.pack("<II", 0, 0) + data),
            (Command.RUN, b""),
            (Command.READ, struct.pack("<IIH", 0, 0, 4)),
        )
    ):
        stream.append(encode(Frame(command, 100 + number, last, payload)))
    decoder = Decoder()
    found = decoder.feed(host.feed(b"".join(stream)))
    assert decoder.garbled == 0  # the server's own frames are all whole
    replies = [f for f in found if isinstance(f, Frame)]
    assert len(replies) > frames // 2
    for reply in replies:
        check(reply)
    assert replies[-1].sequence == 104 and replies[-1].session == last
    assert replies[-1].payload[4:] == expected(data, 1)


def check(reply: Frame) -> None:
    """No reply says or holds more than there is."""
    assert reply.command & REPLY and len(reply.payload) >= 4, reply
    if reply.command == Command.GARBLED | REPLY:
        return
    assert reply.payload[0] in set(Status), reply
    assert reply.payload[0] != Status.MODEL_FAILED, reply
    data = reply.payload[4:]
    if reply.payload[0] == Status.OK and reply.command == Command.WRITE | REPLY:
        assert int.from_bytes(data, "little") <= INPUT_BYTES
    if reply.payload[0] == Status.OK and reply.command == Command.READ | REPLY:
        assert len(data) <= OUTPUT_BYTES


def test_server_survives_hostile_frames(host: HostProgram) -> None:
    fire(host, FRAMES, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 20))
def test_server_survives_hostile_frames_for_long(host: HostProgram, seed: int) -> None:
    fire(host, FRAMES, seed)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(s, marks=pytest.mark.slow) for s in range(2, 8))])
def test_noise_never_becomes_a_wrong_answer(host: HostProgram, seed: int) -> None:
    """The model counts its runs, so that a request that was executed twice would show."""
    pipe = host.start()
    line = NoisyLine(pipe, seed, 0.02)
    done, refused = 0, 0
    try:
        for _ in range(8):  # a session that ended in an error is followed by another one
            if done >= 20:
                break
            try:
                client = Client(Link("host", line), answer_seconds=0.2)
                client.reset()
                for runs, x in enumerate(samples(12), 1):
                    outputs, _ = client.infer(x)
                    assert outputs[0] == expected(x[0], runs)
                    done += 1
            except VmcuError as error:
                refused += 1
                assert "garbled" in str(error) or "does not answer" in str(error) or "no board" in str(error)
    finally:
        pipe.close()
    assert done >= 12 and line.damaged > 3, (done, refused)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(st.binary(max_size=40), st.binary(max_size=60).map(lambda p: encode(Frame(5, 7, 9, p)))),
        max_size=8,
    ),
    st.randoms(),
)
def test_decoder_takes_anything_in_any_pieces(parts: list[bytes], rng: random.Random) -> None:
    """The same frames, whatever the pieces; none is lost but by noise that swallows it."""
    data = b"".join(parts)
    whole = Decoder()
    at_once = whole.feed(data)
    pieces = Decoder()
    found: list[Frame | str] = []
    at = 0
    while at < len(data):
        step = rng.randrange(1, 9)
        found += pieces.feed(data[at : at + step])
        at += step
    assert found == at_once
    for item in at_once:
        assert isinstance(item, str) or encode(item) in data
    whole.give_up()


@pytest.mark.parametrize("seed", range(3))
def test_client_survives_a_board_that_talks_nonsense(seed: int) -> None:
    """Frames with a right CRC, session and number, and any content: an answer or a VmcuError, nothing else."""
    rng = random.Random(seed)

    class Liar:
        """Answers every request with its number and something made up."""

        def __init__(self) -> None:
            self.waiting = b""

        def write(self, data: bytes) -> int:
            _, _, command, sequence, _, session = HEADER.unpack_from(data)
            choices = [command | REPLY] * 6 + [rng.randrange(256), Command.NEED, Command.GIVE]
            payload = rng.choice(
                (
                    b"",
                    bytes(4),
                    bytes(4) + rng.randbytes(rng.randrange(200)),
                    rng.randbytes(rng.randrange(60)),
                )
            )
            self.waiting += encode(Frame(rng.choice(choices), sequence, session, payload))
            self.waiting += rng.choice((b"", b"VMCU FAULT pc=1234\n", b"VMCU READY\n", rng.randbytes(9)))
            return len(data)

        def read(self, count: int) -> bytes:
            data, self.waiting = self.waiting[:count], self.waiting[count:]
            return data

        def close(self) -> None:
            pass

    for _ in range(300):
        with pytest.raises(VmcuError):
            client = Client(Link("liar", Liar()), answer_seconds=0.001)
            for x in samples(5):
                client.infer(x, limit_seconds=0.01)
            raise AssertionError("nothing was wrong")
