"""A Socket.IO client that polls, in raw packets, with no library between."""

from __future__ import annotations

import json
from types import TracebackType
from urllib.request import Request, urlopen

#: Seconds for anything that is waited for.
TIMEOUT = 30.0
_SEPARATOR = "\x1e"


class PollingClient:
    """
    A polling connection to a worker, connected to the default namespace; a context manager.

    Args:
        url: The worker.
        headers: Headers of the handshake and of every request.

    Attributes:
        address: The URL of all its requests.
    """

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        self._headers = headers or {}
        self.address = f"{url}/socket.io/?EIO=4&transport=polling"
        opened = self._request()
        self.address += f"&sid={json.loads(opened[1:])['sid']}"
        self.post("40")
        while not any(packet.startswith("40") for packet in self.poll()):
            pass

    def __enter__(self) -> PollingClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.post("41")

    def post(self, *packets: str) -> None:
        """Send packets in one request."""
        self.post_bytes(_SEPARATOR.join(packets).encode())

    def post_bytes(self, body: bytes) -> None:
        """Send a body of one's own making; raise HTTPError if it is refused."""
        self._request(body)

    def poll(self) -> list[str]:
        """Return the packets that come next."""
        return self._request().split(_SEPARATOR)

    def receive(self, count: int) -> list[str]:
        """Return the next packets that are not pings."""
        received: list[str] = []
        while len(received) < count:
            received += [packet for packet in self.poll() if packet != "2"]
        return received

    def _request(self, body: bytes | None = None) -> str:
        request = Request(self.address, data=body, headers=self._headers)
        with urlopen(request, timeout=TIMEOUT) as response:
            text: str = response.read().decode()
        return text
