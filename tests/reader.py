#!/usr/bin/env python3
"""Reads the topic `chain` of a running node with nothing but the documents and Python's standard library.

    reader.py DATADIR COUNT

Attaches by path (docs/protocol.md), maps the segment (docs/segment-layout.md) and prints the COUNT oldest messages
it holds, as `blvm tail chain --json --from oldest --count COUNT` does.
"""

import fcntl
import json
import mmap
import os
import socket
import struct
import sys
import time

PROTOCOL_VERSION = 7
LAYOUT_VERSION = 2

# docs/protocol.md, "Frames" and "Archives".
HEAD = struct.Struct("<IHHQII")
REQUEST_ROOT, REPLY_ROOT = 36, 72
HELLO, MAPPED, AUTHENTICATE = 0, 1, 8
WELCOME, ATTACHED, REFUSED, AUTHENTICATED = 0, 1, 7, 8

# docs/segment-layout.md.
MAGIC = b"BLVMBUS\x01"
CLOCKS = (1, 2)
MAX_SHIFT = 63
NEXT_SEQUENCE_BYTE, STATE_BYTE, SLOTS_BYTE = 4096, 4352, 8192
SLOT_HEAD_BYTES = 32
CHAIN = 1
# Shrink, grow, future write, seal: fcntl(2), "File Sealing".
F_GET_SEALS, SEALS = 1034, 0x02 | 0x04 | 0x10 | 0x01

# The kinds of `chain`: number, name, and the fields of the root in their order.
KINDS = [
    (1, "BlockConnected", [("hash", "Hash"), ("previous", "Hash"), ("height", "u32"), ("transactions", "u32"),
                           ("raw_bytes", "u32")]),
    (2, "BlockDisconnected", [("hash", "Hash"), ("previous", "Hash"), ("height", "u32")]),
    (3, "ChainReorganised", [("fork_hash", "Hash"), ("fork_height", "u32"), ("disconnected", "u32"),
                             ("connected", "u32")]),
]
BODIES = (
    "transactions:[txid:Hash,wtxid:Hash,fee_sat:u64,offset_bytes:u32,length_bytes:u32,weight:u32,reserved:u32],"
    "raw:[u8];disconnected:[Hash],connected:[Hash]"
)


def schema_id():
    """FNV-1a over the definitions of the topic, without white space."""
    text = "chain"
    for number, name, fields in KINDS:
        text += f"{number}{name}{{" + "".join(f"{field}:{kind}," for field, kind in fields) + "}"
    value = 0xCBF29CE484222325
    for byte in (text + BODIES).encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


class Refused(Exception):
    """The node did not do what was asked, or is not what the documents say."""


class Conversation:
    """The request socket: one frame out, one frame in."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(10)
        self.socket.connect(path)
        self.correlation = 0
        self.buffer = b""
        self.descriptors = []

    def fill(self, length):
        while len(self.buffer) < length:
            more, descriptors, _, _ = socket.recv_fds(self.socket, 65536, 24)
            if not more:
                raise Refused("the node has closed the connection")
            self.buffer += more
            self.descriptors += descriptors

    def ask(self, archive):
        """Sends a request; returns the archive of its reply and where its root stands."""
        self.correlation += 1
        self.socket.sendall(HEAD.pack(len(archive), 0, 0, self.correlation, 0, 0) + archive)
        self.fill(HEAD.size)
        length, self.received, is_in_memfd, correlation, _, _ = HEAD.unpack_from(self.buffer)
        if correlation != self.correlation or is_in_memfd:
            raise Refused("an answer to something else, or a long one")
        self.fill(HEAD.size + length)
        reply, self.buffer = self.buffer[HEAD.size:HEAD.size + length], self.buffer[HEAD.size + length:]
        root = length - REPLY_ROOT
        if root < 0:
            raise Refused(f"{length} bytes are no reply")
        if reply[root] == REFUSED:
            raise Refused(f"refusal {reply[root + 8]} of the node, see docs/protocol.md")
        return reply, root


def request(tag, fields=b"", before=b""):
    """A request: what its pointers lead to, then the root: number of the request, its fields, zeros."""
    return before + (bytes([tag]) + fields).ljust(REQUEST_ROOT, b"\0")


def hello(topics):
    wishes = b"".join(struct.pack("<IIQ", topic, 0, schema) for topic, schema in topics)
    # The list's pointer stands 12 bytes into the root and leads to the start of the archive.
    fields = struct.pack("<3xIIiI", PROTOCOL_VERSION, LAYOUT_VERSION, -(len(wishes) + 12), len(topics))
    return request(HELLO, fields, wishes)


def expect(reply, root, tag):
    if reply[root] != tag:
        raise Refused(f"reply {reply[root]} where {tag} is due")


def entries(reply, at, entry_bytes):
    """The (topic, number) pairs of a list whose pointer stands at `at`; entries may have more fields."""
    offset, length = struct.unpack_from("<iI", reply, at)
    return [struct.unpack_from("<I4xQ", reply, at + offset + entry_bytes * index) for index in range(length)]


class Segment:
    """A topic's memory, mapped read-only."""

    def __init__(self, descriptor, topic, schema, run_id):
        seals = fcntl.fcntl(descriptor, F_GET_SEALS)
        if seals & SEALS != SEALS:
            raise Refused("the segment is not sealed")
        size = os.fstat(descriptor).st_size
        if size < SLOTS_BYTE:
            raise Refused("too short for a segment")
        self.memory = mmap.mmap(descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ)
        # Loads of whole aligned words, as the protocol needs them; in order on every machine the node runs on.
        self.words = memoryview(self.memory).cast("Q")
        if self.memory[0:8] != MAGIC:
            raise Refused("not a segment")
        version, clock, length, found_topic, found_schema = struct.unpack_from("<IIQQQ", self.memory, 8)
        self.depth, self.slot_bytes, terms, term_bytes = struct.unpack_from("<IIII", self.memory, 56)
        bodies, self.shift, self.multiplier = struct.unpack_from("<IIQ", self.memory, 72)
        if version != LAYOUT_VERSION or bodies > 1:
            raise Refused(f"layout {version} with bodies {bodies}")
        if clock not in CLOCKS or self.shift > MAX_SHIFT or self.multiplier == 0:
            raise Refused(f"clock {clock}")
        is_power_of_two = self.depth & (self.depth - 1) == 0
        if not (2 <= self.depth <= 2**20 and is_power_of_two and 64 <= self.slot_bytes <= 4096):
            raise Refused("impossible sizes")
        body_start = -(-(SLOTS_BYTE + self.depth * self.slot_bytes) // 4096) * 4096
        if not size == length == body_start + terms * term_bytes:
            raise Refused("another length than the header says")
        if (found_topic, found_schema, self.memory[40:56]) != (topic, schema, run_id):
            raise Refused("a segment of another topic, schema or run")

    def nanoseconds(self, ticks):
        return min(ticks * self.multiplier >> self.shift, 2**64 - 1)

    def next_sequence(self):
        return self.words[NEXT_SEQUENCE_BYTE // 8]

    def read(self, sequence):
        """The slot's words behind its sequence; None before it is published, False once it is overwritten."""
        at = SLOTS_BYTE + sequence % self.depth * self.slot_bytes
        found = self.words[at // 8]
        copied = self.memory[at + 8:at + self.slot_bytes]
        again = self.words[at // 8]
        if found == again == sequence:
            return copied
        return None if found < sequence else False


def decode(segment, sequence, slot):
    """A message as `blvm tail --json` shows it."""
    kind, length = struct.unpack_from("<HH", slot, 0)
    published_at_ns = segment.nanoseconds(struct.unpack_from("<Q", slot, 16)[0])
    if length > len(slot) - (SLOT_HEAD_BYTES - 8):
        raise Refused("a message longer than its slot")
    archive = slot[SLOT_HEAD_BYTES - 8:SLOT_HEAD_BYTES - 8 + length]
    name, fields = next((name, fields) for number, name, fields in KINDS if number == kind)
    line = {"topic": "chain", "sequence": sequence, "kind": name, "published_at_ns": published_at_ns}
    # The root stands at the end. Its hashes have no alignment, its numbers follow them at multiples of 4.
    at = length - sum(32 if kind == "Hash" else 4 for _, kind in fields)
    if at < 0:
        raise Refused("a message shorter than its root")
    for field, kind in fields:
        if kind == "Hash":
            line[field] = archive[at:at + 32][::-1].hex()
            at += 32
        else:
            (line[field],) = struct.unpack_from("<I", archive, at)
            at += 4
    return line


def attach(directory):
    with open(os.path.join(directory, "bus.token"), encoding="ascii") as file:
        token = bytes.fromhex(file.read())
    talk = Conversation(os.path.join(directory, "bus.sock"))
    expect(*talk.ask(request(AUTHENTICATE, token)), AUTHENTICATED)
    reply, root = talk.ask(hello([(CHAIN, schema_id())]))
    expect(reply, root, WELCOME)
    run_id = reply[root + 4:root + 20]
    granted = entries(reply, root + 36, 24)
    leases = reply[root + 44]
    # One segment, no lease page, the wake socket: this reader looks again instead of sleeping on it.
    if granted != [(CHAIN, schema_id())] or leases != 0 or (talk.received, len(talk.descriptors)) != (2, 2):
        raise Refused("not what was asked for")
    segment = Segment(talk.descriptors[0], CHAIN, schema_id(), run_id)
    reply, root = talk.ask(request(MAPPED))
    expect(reply, root, ATTACHED)
    [(topic, start)] = entries(reply, root + 4, 16)
    if topic != CHAIN:
        raise Refused("attached to another topic")
    # The conversation must live as long as the segment is read.
    return talk, segment, start


def main(directory, count):
    talk, segment, start = attach(directory)
    cursor = max(1, start - segment.depth)
    deadline = time.monotonic() + 30
    while count > 0:
        slot = segment.read(cursor)
        if slot is None:
            closed_at = segment.words[STATE_BYTE // 8]
            if closed_at != 0 and cursor >= closed_at or time.monotonic() > deadline:
                raise Refused("no more messages")
            time.sleep(0.01)
        elif slot is False:
            oldest = max(segment.next_sequence() - segment.depth, cursor + 1)
            print(json.dumps({"missed": oldest - cursor}, separators=(",", ":")))
            cursor = oldest
        else:
            print(json.dumps(decode(segment, cursor, slot), separators=(",", ":")))
            cursor += 1
            count -= 1
    talk.socket.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: reader.py DATADIR COUNT")
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except (Refused, OSError) as error:
        sys.exit(f"reader.py: {error}")
