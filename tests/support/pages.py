"""Reading all pages of a list."""

from __future__ import annotations

from tests.support.pair import Client


def ids_of_pages(client: Client, path: str) -> list[str]:
    """Return the ids in all pages of a list. The Link of a page leads to the next page."""
    seen: list[str] = []
    while path:
        answer = client.get(path)
        seen += [each["id"] for each in answer.json()["data"]]
        path = answer.headers.get("Link", "<>").partition("<")[2].partition(">")[0]
    return seen
