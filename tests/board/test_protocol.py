"""The protocol itself: both ends have the same numbers, every refusal is made and said, a request is executed once."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

import pytest
from host_server import HostProgram, NoisyLine, Pipe, build_host_server
from streamed_nets import segmenter
from tiny_project import expected, samples

import vmcu
from vmcu.batch import random_batch
from vmcu.board import protocol
from vmcu.board.client import Client
from vmcu.board.fault import explain_fault, read_fault
from vmcu.board.frames import CRC_BYTES, HEADER, MAGIC, PAYLOAD_MAX, VERSION, Decoder, Frame, encode
from vmcu.board.link import Link
from vmcu.board.protocol import Command, Status, read_info, read_port, read_self_test
from vmcu.errors import VmcuError
from vmcu.resources import folder

SESSION = 99


def macros(name: str) -> dict[str, int]:
    text = (folder("firmware") / "board" / name).read_text()
    return {k: int(v, 0) for k, v in re.findall(r"#define VMCU_(\w+) (0x[0-9A-F]+|\d+)U?\b", text)}


def test_both_ends_have_the_same_numbers() -> None:
    server, frame, rows = macros("server.h"), macros("frame.h"), macros("rows.h")
    assert {k.removeprefix("COMMAND_"): v for k, v in server.items() if k.startswith("COMMAND_")} == {
        c.name: c.value for c in Command
    }
    assert {k.removeprefix("STATUS_"): v for k, v in server.items() if k.startswith("STATUS_")} == {
        s.name: s.value for s in Status
    }
    assert server["REPLY"] == protocol.REPLY and server["PROFILE_STEPS"] == protocol.PROFILE_STEPS
    assert frame["FRAME_VERSION"] == VERSION and frame["FRAME_PAYLOAD_MAX"] == PAYLOAD_MAX
    assert bytes([frame["FRAME_MAGIC_0"], frame["FRAME_MAGIC_1"]]) == MAGIC
    assert (frame["FRAME_HEADER_BYTES"], frame["FRAME_CRC_BYTES"]) == (HEADER.size, CRC_BYTES)
    assert rows["ROWS_HEAD_BYTES"] == protocol.ROWS_HEAD.size
    assert rows["ROWS_CHUNK_BYTES"] + rows["ROWS_HEAD_BYTES"] <= PAYLOAD_MAX
    assert protocol.DATA_MAX + 8 <= PAYLOAD_MAX


def test_bytes_of_a_frame() -> None:
    """As SPEC.md has them."""
    data = encode(Frame(0x08, 0x1234, 0xAABBCCDD, b"\x01\x02"))
    assert data[:14].hex() == "56c30108341202" + "00ddccbbaa0102"
    assert data[14:] == zlib.crc32(data[2:14]).to_bytes(4, "little")
    assert Decoder().feed(b"noise" + data + b"text\n") == [
        Frame(0x08, 0x1234, 0xAABBCCDD, b"\x01\x02"),
        "noisetext",
    ]


def test_decoder_finds_a_frame_behind_a_broken_one() -> None:
    good, decoder = encode(Frame(1, 2, 3, b"abc")), Decoder()
    for start in (good[:5], good[:12], good[:-1], MAGIC, MAGIC[:1], good[:2] + b"\x02"):
        found = [f for f in decoder.feed(start + good) if isinstance(f, Frame)]
        if not found:  # the broken one claims more bytes than have come
            found = [f for f in decoder.give_up() if isinstance(f, Frame)]
        assert found == [Frame(1, 2, 3, b"abc")]
    assert decoder.garbled >= 5


@pytest.fixture
def line(host: HostProgram) -> Iterator[Pipe]:
    with host.start() as pipe:
        yield pipe


@pytest.fixture
def client(line: Pipe) -> Client:
    return Client(line.link(), session=SESSION)


def test_info(client: Client, host: HostProgram) -> None:
    info = client.info
    assert (info.project, info.board, info.build, info.model) == ("tiny", "cortex-m4", host.build, "5a" * 32)
    assert (info.payload_max, info.pool_bytes, info.pool_align, info.steps) == (512, 2052, 4, 2)
    assert [(p.offset_bytes, p.size_bytes, p.row_bytes) for p in (*client.inputs, *client.outputs)] == [
        (16, 64, 0),
        (2048, 4, 0),
    ]
    client.reset()
    assert client.peek(0, 4) == bytes(4) and len(client.peek(0, 2052)) == 2052


REFUSALS = [
    (0x33, b"", "does not know the command"),
    (Command.PORT, b"\0", "refuses the length"),
    (Command.PORT, b"\0\1", "has no such input or output"),
    (Command.PORT, b"\2\0", "has no such input or output"),
    (Command.WRITE, bytes(7), "refuses the length"),
    (Command.WRITE, struct.pack("<II", 1, 0), "has no such input or output"),
    (Command.WRITE, struct.pack("<II", 0, 0) + bytes(65), "beyond the end"),
    (Command.WRITE, struct.pack("<II", 0, 60) + bytes(5), "beyond the end"),
    (Command.WRITE, struct.pack("<II", 0, 2**32 - 1) + bytes(5), "beyond the end"),
    (Command.WRITE, struct.pack("<II", 0, 8) + bytes(5), "misses a part of the input"),
    (Command.RUN, b"", "has not got all inputs"),
    (Command.RUN, b"ab", "refuses the length"),
    (Command.READ, bytes(9), "refuses the length"),
    (Command.READ, bytes(10), "nothing was run since"),
    (Command.READ, struct.pack("<IIH", 1, 0, 1), "has no such input or output"),
    (Command.PEEK, struct.pack("<IH", 2050, 3), "beyond the end"),
    (Command.PEEK, struct.pack("<IH", 2**32 - 1, 1), "beyond the end"),
    (Command.PEEK, struct.pack("<IH", 0, 509), "beyond the end"),
    (Command.PROFILE, bytes(4), "cannot profile"),
    (Command.SELF_TEST, b"", "refuses the length"),
]


@pytest.mark.parametrize(("command", "payload", "text"), REFUSALS)
def test_refusals(client: Client, command: int, payload: bytes, text: str) -> None:
    number = type("Other", (int,), {"name": "OTHER"})(command)  # a command that need not exist
    with pytest.raises(VmcuError, match=text):
        client._request(number, payload)  # type: ignore[arg-type]
    data = samples(1)[0]
    assert client.infer(data)[0][0] == expected(data[0], 1)


def test_a_request_that_comes_again_is_executed_once(line: Pipe, client: Client) -> None:
    client._write(0, samples(1)[0][0])
    again = encode(Frame(Command.RUN, 777, SESSION))
    link = client._link
    for _ in range(3):
        link.send(again)
    found = []
    while len(found) < 4:  # ACCEPTED and the result; then twice the result from memory
        frame = link.receive(1e18)
        assert isinstance(frame, Frame) and frame.sequence == 777
        found.append(frame.payload)
    assert found[1] == found[2] == found[3] and found[1][0] == Status.OK
    assert client._fetch(0, 4) == expected(samples(1)[0][0], 1)
    assert client.self_test(pool=False).repeats == 2


def test_another_session_is_refused(line: Pipe, client: Client) -> None:
    other = Client(line.link(), session=5)
    with pytest.raises(VmcuError, match="has been restarted, or another program talks to it"):
        client.reset()
    other.reset()


def test_outputs_are_gone_with_the_next_input(client: Client) -> None:
    client.infer(samples(1)[0])
    client._write(0, b"abc")
    with pytest.raises(VmcuError, match="nothing was run since the last input"):
        client._fetch(0, 4)


def test_profile(client: Client) -> None:
    client.infer(samples(1)[0], profile=True)
    steps = client.profile()
    assert steps.tasks == (3, 1) and len(steps.ticks) == 2
    with pytest.raises(VmcuError, match="beyond the end"):
        client._request(Command.PROFILE, struct.pack("<HH", 1, 2))


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> tuple[HostProgram, vmcu.api.Model]:
    work = tmp_path_factory.mktemp("streaming")
    made = vmcu.compile(segmenter(16, 200).save(work), "cortex-m4", stream_inputs=["*"], stream_outputs=["*"])
    return build_host_server(made.compiled.project, "5a" * 32, work), made


@pytest.mark.parametrize("rate", [0.0, 0.004])
def test_streamed_rows(streaming: tuple[HostProgram, vmcu.api.Model], rate: float) -> None:
    """Also over a line that loses some: every row arrives, or the run is given up with a word."""
    program, made = streaming
    batch = random_batch(made.compiled.graph, 2)
    payload = batch.payload(made.compiled.graph)
    wanted = made.run_batch(batch, engine="host").outputs
    with program.start() as pipe:
        line = NoisyLine(pipe, 3, rate)
        client = Client(Link("host", line), answer_seconds=0.3)
        for inputs, outputs in zip(payload, wanted, strict=True):
            try:
                assert client.infer(inputs)[0] == outputs
            except VmcuError as error:
                assert rate and "gave up waiting for rows" in str(error)
        assert line.damaged or not rate


def test_hello_ends_a_run_that_waits_for_rows(streaming: tuple[HostProgram, vmcu.api.Model]) -> None:
    program, made = streaming
    inputs = random_batch(made.compiled.graph, 1).payload(made.compiled.graph)[0]
    with program.start() as pipe:
        first = Client(pipe.link(), session=1)
        first._link.send(encode(Frame(Command.RUN, 5, 1)))  # and never a row
        second = Client(first._link, session=2)
        assert (
            second.infer(inputs)[0]
            == made.run_batch(random_batch(made.compiled.graph, 1), engine="host").outputs[0]
        )


def test_malformed_replies() -> None:
    for reader in (read_info, read_port, read_self_test):
        with pytest.raises(protocol.Malformed):
            reader(b"abc")
    with pytest.raises(protocol.Malformed):
        read_info(bytes(112) + b"\x05ab")


def test_fault_lines() -> None:
    line = "VMCU FAULT exception=00000003 cfsr=00000082 address=2000000c sp=2000000c limit=20000100 step=ffffffff row=ffffffff tasks=00000000 stack=00000001,080001ff"
    fault = read_fault(line)
    assert fault is not None and fault.is_overflow and fault.address == 0x2000000C and fault.pc is None
    assert fault.step is None and fault.stack == (1, 0x080001FF)
    assert "the stack overflowed, accessing 0x2000000c: exception 3" in str(
        explain_fault(fault, None, ("a",), "b")
    )
    assert read_fault("VMCU READY 1") is None
    cut = read_fault("VMCU FAULT exception=0000")
    assert cut is not None and "took a fault: exception 0" in str(explain_fault(cut, None, (), "b"))
