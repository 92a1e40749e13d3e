"""The pages, and the Socket.IO client that they load."""

from __future__ import annotations

from pathlib import Path

from flask import (
    Blueprint,
    Response,
    current_app,
    redirect,
    render_template,
    request,
    send_from_directory,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue

from example_app.chat import NAME_RULE, is_name

#: Where `./dev` has npm put packages.
OF_DEV = str(Path(__file__).parents[1] / ".dev" / "node" / "node_modules")
CLIENT = "socket.io-client/dist/socket.io.min.js"
VERSION = "4.8.4"
# Only for a clone without npm.
CDN = f"https://cdn.jsdelivr.net/npm/socket.io-client@{VERSION}/dist/socket.io.min.js"
# The hash of that file as published on npm: openssl dgst -sha384 -binary FILE | base64
INTEGRITY = "sha384-fBrXvbDtHoeKWJ/hcA6M+YGueiDW+h45I7V6F2kD1S8bOkrF9rZYPLVkCR6BLR/1"

bp = Blueprint("pages", __name__)


@bp.get("/")
def index() -> ResponseReturnValue:
    """Show the chat to those who have signed in."""
    if "user" not in session:
        return render_template("sign-in.html")
    if Path(current_app.config["NODE_MODULES"], CLIENT).is_file():
        return render_template("chat.html", client=url_for("pages.client"), integrity=None)
    return render_template("chat.html", client=CDN, integrity=INTEGRITY)


@bp.post("/sign-in")
def sign_in() -> ResponseReturnValue:
    """Sign in under a name; the example has no passwords, and moderators are those who say so."""
    name = request.form.get("name", "").strip()
    if not is_name(name):
        return render_template("sign-in.html", problem=NAME_RULE, name=name), 400
    session.update(user=name, moderator="moderator" in request.form)
    return redirect(url_for("pages.index"))


@bp.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """Forget who it was."""
    session.clear()
    return redirect(url_for("pages.index"))


@bp.get("/socket.io-client.js")
def client() -> Response:
    """Send the Socket.IO client that npm has installed."""
    directory = Path(current_app.config["NODE_MODULES"]).resolve()
    return send_from_directory(directory, CLIENT, mimetype="text/javascript")
