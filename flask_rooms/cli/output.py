"""Tables for people and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import click

from flask_rooms.results import Answer, Outcome


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a table, with its headers; numbers are aligned to the right."""
    cells = [[*map(printable, map(str, row))] for row in rows]
    columns = list(zip(headers, *cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [bool(cells) and all(map(_is_number, column[1:])) for column in columns]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        return "  ".join(padded).rstrip()

    return [line(headers), *map(line, cells)]


def _is_number(cell: str) -> bool:
    return cell.replace(".", "", 1).isdigit() or cell == "-"


def printable(name: str) -> str:
    """Return a name, without control characters: clients choose names, and reach the terminal."""
    return name if name.isprintable() else repr(name)


def number(count: int, noun: str) -> str:
    """Return a number of things for people: with the plural, unless there is one."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def span(seconds: float | None) -> str:
    """Return an age for people."""
    return "-" if seconds is None else str(timedelta(seconds=int(seconds)))


def show_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table."""
    for line in table(headers, rows):
        click.echo(line)


def show_json(value: Any) -> None:
    """Print JSON, on one line."""
    click.echo(json.dumps(value))


def answer_as_json(answer: Answer[Any], value: Any) -> dict[str, Any]:
    """Return an answer as JSON has it."""
    return {"value": value, "complete": answer.complete, "missing": answer.missing}


def show_outcome(future: Future[Outcome], as_json: bool) -> Outcome:
    """Wait for the outcome of a change, print it, and return it."""
    outcome = future.result()
    if as_json:
        show_json(asdict(outcome))
    else:
        click.echo(f"changed: {outcome.changed}, unchanged: {outcome.unchanged}")
        for sid in outcome.unknown:
            click.echo(f"unknown: {sid}")
    return outcome
