"""flask-smorest: schemas check what comes over a socket, and errors are its own."""

from __future__ import annotations

from typing import Any

import pytest
from flask_smorest import Api, Blueprint
from marshmallow import Schema, fields

from flask_rooms import request
from tests.support.apps import LocalCluster, make_app

pytestmark = pytest.mark.mode_independent


class Message(Schema):
    text = fields.String(required=True)
    times = fields.Integer(load_default=1)


def test_arguments_responses_and_errors(cluster: LocalCluster) -> None:
    app = make_app()
    app.config.update(API_TITLE="Chat", API_VERSION="1", OPENAPI_VERSION="3.0.3")
    blueprint = Blueprint("chat", __name__)

    @blueprint.route("/rooms/<room>", methods=["POST"])
    @blueprint.arguments(Message)
    @blueprint.response(201, Message)
    def speak(message: dict[str, Any], room: str) -> dict[str, Any]:
        worker.sockets.join(request, room)
        return {**message, "secret": "not in the schema"}

    worker = cluster.worker(app)
    Api(app).register_blueprint(blueprint)
    client = worker.connect()

    answer = client.ask("post", "/rooms/red", {"text": "Hello"})
    refused = client.ask("post", "/rooms/red", {"times": "many"})

    assert (answer["statusCode"], answer["body"]) == (201, {"text": "Hello", "times": 1})
    assert worker.rooms_of(client) == {"red"}
    assert refused["statusCode"] == 422
    assert set(refused["body"]["errors"]["json"]) == {"text", "times"}
