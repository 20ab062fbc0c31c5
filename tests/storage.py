"""A real S3-compatible server of the tests' own, and a line to it that can be cut."""

import socket
import threading
from contextlib import suppress
from typing import Any

import fsspec

SECRET = "not-to-be-told-4711"
PLACE = {
    "AWS_ACCESS_KEY_ID": "tester-0815",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Bucket:
    """A bucket of the server.

    Args:
        name: Its name.
        line: To the server.
    """

    def __init__(self, name: str, line: "Line") -> None:
        self.name, self.line = name, line
        self.address = f"s3://{name}"
        self.fs: Any = fsspec.filesystem("s3")
        self.fs.mkdir(name)

    def put(self, name: str, content: bytes) -> str:
        """Store a file; give its address back."""
        self.fs.pipe_file(f"{self.name}/{name}", content)
        return f"{self.address}/{name}"

    def files(self) -> dict[str, bytes]:
        """All that is in the bucket, by name."""
        self.fs.invalidate_cache()
        return {
            path.removeprefix(f"{self.name}/"): self.fs.cat_file(path)
            for path in self.fs.find(self.name)
        }


class Line(threading.Thread):
    """What connects to the server, and cuts connections when that is asked for.

    Args:
        port: Of the server on this machine.
    """

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.server = ("127.0.0.1", port)
        self.door = socket.create_server(("127.0.0.1", 0))
        self.cuts, self.after, self.answers = 0, 0, 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.door.getsockname()[1]}"

    def cut(self, times: int, after: int) -> None:
        """Cut so many connections, each once the server has sent more bytes than `after` on it."""
        self.cuts, self.after = times, after

    def run(self) -> None:
        while True:
            with suppress(OSError):
                client, _ = self.door.accept()
                server = socket.create_connection(self.server)
                for one, other, counted in ((client, server, False), (server, client, True)):
                    threading.Thread(
                        target=self._pass, args=(one, other, counted), daemon=True
                    ).start()

    def _pass(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        """Pass on what comes from one side to the other, until one of them ends."""
        sent = 0
        with suppress(OSError):
            while content := source.recv(4096):
                sent += len(content)
                self.answers += counted
                if counted and self.cuts and sent > self.after:
                    self.cuts -= 1
                    break
                target.sendall(content)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
