"""As much of D-Bus as asking systemd's private socket needs."""

import os
import select
import socket
import struct
import time

# Whose interface on systemd's bus a property is of; all else is of the unit's type.
GENERAL = {
    "ActiveState", "SubState", "LoadState", "UnitFileState", "ConditionResult", "AssertResult",
    "NeedDaemonReload", "Job", "Id",
}


class Bus:
    """A connection: a call without a fork is quick enough to be repeated, even where the processor
    is emulated."""

    MANAGER = "/org/freedesktop/systemd1"
    INTERFACE = "org.freedesktop.systemd1.Manager"

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect("/run/systemd/private")
        self.serial = 0
        uid = str(os.getuid()).encode().hex()
        self.socket.sendall(f"\0AUTH EXTERNAL {uid}\r\nBEGIN\r\n".encode())
        while not self.take(1) == b"\n":
            pass
        # How jobs ended, by their paths.
        self.ended = {}

    def take(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise OSError("systemd closed its socket")
            data += more
        return data

    @staticmethod
    def text(value):
        value = value.encode()
        return struct.pack("<I", len(value)) + value + b"\0"

    def call(self, path, interface, member, signature, body):
        self.serial += 1
        head = struct.pack("<4BII", ord("l"), 1, 0, 1, len(body), self.serial)
        fields = b""
        for code, kind, value in ((1, "o", path), (2, "s", interface), (3, "s", member)):
            fields += b"\0" * (-len(fields) % 8)
            fields += bytes((code, 1)) + kind.encode() + b"\0" + self.text(value)
        fields += b"\0" * (-len(fields) % 8)
        fields += bytes((8, 1)) + b"g\0" + bytes((len(signature),)) + signature.encode() + b"\0"
        head += struct.pack("<I", len(fields)) + fields
        self.socket.sendall(head + b"\0" * (-len(head) % 8) + body)
        while True:
            reply_to, good, body = self.message()
            if reply_to == self.serial:
                return body, good

    def message(self):
        """The next message: to which call it is the answer, whether it is a good one, its body."""
        head = self.take(16)
        size, _, length = struct.unpack("<III", head[4:])
        reader = Reader(self.take(length + -length % 8))
        body = self.take(size)
        fields = {}
        while reader.at < length:
            reader.align(8)
            code = reader.one("y")
            fields[code] = reader.one("v")
        if head[1] == 4 and fields.get(3) == "JobRemoved":
            _, path, _, result = Reader(body).one("(uoss)")
            self.ended[path] = result
        return fields.get(5), head[1] == 2, body

    def job(self, method, unit, mode):
        """The path of a new job; None if there is none to be had."""
        body = self.text(unit)
        body += b"\0" * (-len(body) % 4) + self.text(mode)
        body, good = self.call(self.MANAGER, self.INTERFACE, method, "ss", body)
        return Reader(body).one("o") if good else None

    def result(self, job, patience):
        end = time.monotonic() + patience
        while job not in self.ended:
            # Only between messages: half of one would be lost.
            if not select.select([self.socket], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError
            self.message()
        return self.ended[job]

    def property(self, unit, name):
        path = "".join(c if c.isalnum() else f"_{ord(c):02x}" for c in unit)
        kind = "Unit" if name in GENERAL else unit.rsplit(".", 1)[1].capitalize()
        body = self.text(f"org.freedesktop.systemd1.{kind}")
        body += b"\0" * (-len(body) % 4) + self.text(name)
        path = f"{self.MANAGER}/unit/{path}"
        body, good = self.call(path, "org.freedesktop.DBus.Properties", "Get", "ss", body)
        return Reader(body).one("v") if good else None

    def units(self, pattern):
        one = self.text(pattern)
        body = struct.pack("<II", 0, len(one)) + one
        body, good = self.call(self.MANAGER, self.INTERFACE, "ListUnitsByPatterns", "asas", body)
        if not good:
            raise OSError("systemd does not list its units")
        return [(row[0], row[3], row[7] != 0) for row in Reader(body).one("a(ssssssouso)")]


class Reader:
    """Values of the D-Bus wire, little endian."""

    FIXED = {"y": "B", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "n": "h", "q": "H"}

    def __init__(self, data):
        self.data, self.at = data, 0

    def align(self, to):
        self.at += -self.at % to

    def bytes(self, count):
        self.at += count
        return self.data[self.at - count : self.at]

    def one(self, kind):
        return self.value(kind)[0]

    def value(self, kind):
        """The value, and what of the signature is left."""
        first, left = kind[0], kind[1:]
        if first in self.FIXED:
            form = self.FIXED[first]
            size = struct.calcsize(form)
            self.align(size)
            return struct.unpack("<" + form, self.bytes(size))[0], left
        if first == "b":
            return ("no", "yes")[self.one("u")], left
        if first in "so":
            text = self.bytes(self.one("u")).decode()
            self.at += 1
            return text, left
        if first == "g":
            text = self.bytes(self.one("y")).decode()
            self.at += 1
            return text, left
        if first == "v":
            return self.one(self.one("g")), left
        if first == "a":
            size = self.one("u")
            after = left[1:] if left[0] not in "({" else left[self.closing(left) + 1 :]
            self.align(8 if left[0] in "({xtd" else 1)
            end, items = self.at + size, []
            while self.at < end:
                items.append(self.one(left))
            return items, after
        if first in "({":
            self.align(8)
            items = []
            while left[0] not in ")}":
                item, left = self.value(left)
                items.append(item)
            return tuple(items), left[1:]
        raise ValueError(kind)

    @staticmethod
    def closing(kind):
        depth = 0
        for at, c in enumerate(kind):
            depth += (c in "({") - (c in ")}")
            if depth == 0:
                return at
        raise ValueError(kind)
