"""The page and its Socket.IO client."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, current_app, render_template, send_from_directory, url_for

CLIENT = "socket.io-client/dist/socket.io.min.js"
VERSION = "4.8.4"
CDN = f"https://cdn.jsdelivr.net/npm/socket.io-client@{VERSION}/dist/socket.io.min.js"
# The hash of that file as published on npm: openssl dgst -sha384 -binary FILE | base64
INTEGRITY = "sha384-fBrXvbDtHoeKWJ/hcA6M+YGueiDW+h45I7V6F2kD1S8bOkrF9rZYPLVkCR6BLR/1"

bp = Blueprint("page", __name__)


@bp.get("/")
def index() -> str:
    """Show the page."""
    if node_modules() is not None:
        return render_template("index.html", client=url_for("page.client"), integrity=None)
    return render_template("index.html", client=CDN, integrity=INTEGRITY)


@bp.get("/socket.io-client.js")
def client() -> Response:
    """Send the Socket.IO client from ROOMS_NODE_MODULES."""
    return send_from_directory(node_modules() or "", CLIENT)


def node_modules() -> Path | None:
    """Return the directory ROOMS_NODE_MODULES if the client is installed there."""
    directory = current_app.config["NODE_MODULES"]
    if directory and Path(directory, CLIENT).is_file():
        return Path(directory).resolve()
    return None
