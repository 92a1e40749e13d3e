"""Serve the example as one worker of the demonstration: `python -m example_app --help`."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading

from werkzeug.serving import make_server

from example_app import create_app


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m example_app", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=5000, help="port; 0 for a free one")
    parser.add_argument(
        "--until-eof",
        action="store_true",
        help="exit at the end of the standard input, as when the parent process exits",
    )
    options = parser.parse_args()
    # No line for each request, and none for what a client leaves behind that closes a WebSocket.
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = make_server(options.host, options.port, create_app(), threaded=True)
    if options.until_eof:
        threading.Thread(target=stop_at_eof, daemon=True).start()
    host = f"[{options.host}]" if ":" in options.host else options.host
    print(f"Listening on http://{host}:{server.server_port}", flush=True)
    server.serve_forever()


def stop_at_eof() -> None:
    """Stop this worker at the end of the standard input."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
