"""Document groups: queries that share a relevant passage or document belong together.

Cross-fitting and the cluster bootstrap draw whole groups: two questions on one document are
not two independent pieces of evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["document_groups"]


def document_groups(
    queries: Iterable[str],
    relevant: Mapping[str, Iterable[str]],
    documents: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The group of each query: a connected component of "shares something relevant".

    Nothing is read from the form of the ids. A query without a relevant passage is a group
    of its own.

    Args:
        queries: all query ids, in an order that makes the result deterministic.
        relevant: query id to its relevant passages.
        documents: passage id to the document it was cut from, as far as that is known.

    Returns:
        Query id to group id, which is the id of the group's first query.
    """
    order = list(queries)
    parent = {query: query for query in order}

    def root(query: str) -> str:
        while parent[query] != query:
            parent[query] = parent[parent[query]]
            query = parent[query]
        return query

    position = {query: i for i, query in enumerate(order)}
    first: dict[tuple[str, str], str] = {}
    for query in order:
        for passage in relevant.get(query, ()):
            shared = [("passage", passage)]
            if documents is not None and passage in documents:
                shared.append(("document", documents[passage]))
            for key in shared:
                a, b = root(first.setdefault(key, query)), root(query)
                if a != b:
                    # The earlier one stays the root, so that it names the group.
                    early, late = (a, b) if position[a] < position[b] else (b, a)
                    parent[late] = early
    return {query: root(query) for query in order}
