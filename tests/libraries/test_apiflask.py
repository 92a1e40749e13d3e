"""APIFlask: its class of application and its schemas work over a socket."""

from __future__ import annotations

from typing import Any

import pytest
from apiflask import APIFlask, Schema
from apiflask.fields import String

from flask_rooms import request
from tests.support.apps import SECRET, LocalCluster

pytestmark = pytest.mark.mode_independent


class Message(Schema):
    text = String(required=True)


def test_input_output_and_errors(cluster: LocalCluster) -> None:
    app = APIFlask("chat")
    app.config["SECRET_KEY"] = SECRET

    @app.post("/rooms/<room>")
    @app.input(Message)
    @app.output(Message, status_code=201)
    def speak(room: str, json_data: dict[str, Any]) -> dict[str, Any]:
        worker.sockets.join(request, room)
        return json_data

    worker = cluster.worker(app)
    client = worker.connect()

    answer = client.ask("post", "/rooms/red", {"text": "Hello"})
    refused = client.ask("post", "/rooms/red", {})

    assert (answer["statusCode"], answer["body"]) == (201, {"text": "Hello"})
    assert worker.rooms_of(client) == {"red"}
    assert refused["statusCode"] == 422
    assert refused["body"]["message"] == "Validation error"
