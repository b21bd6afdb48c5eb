"""Document groups: queries that share a relevant passage or document belong together.

Cross-fitting and the cluster bootstrap draw whole groups: two questions on one document are
not two independent pieces of evidence, and one question asked twice is not either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rankgate_eval.data.normalise import normalised


def document_groups(
    queries: Iterable[str],
    relevant: Mapping[str, Iterable[str]],
    documents: Mapping[str, str] | None = None,
    texts: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The group of each query: a connected component of "shares something relevant, or the words".

    Nothing is read from the form of the ids. A query without a relevant passage and with words
    of its own is a group of its own.

    Args:
        queries: all query ids, in an order that makes the result deterministic.
        relevant: query id to its relevant passages.
        documents: passage id to the document it was cut from, as far as that is known.
        texts: query id to its words; those that are equal once normalised are one question.

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
        passages = list(relevant.get(query, ()))
        shared = [("passage", p) for p in passages]
        if documents is not None:
            shared += [("document", documents[p]) for p in passages if p in documents]
        words = "" if texts is None else normalised(texts[query])
        if words:  # empty ones have nothing in common
            shared.append(("text", words))
        for key in shared:
            a, b = root(first.setdefault(key, query)), root(query)
            if a != b:
                # The earlier one stays the root, so that it names the group.
                early, late = (a, b) if position[a] < position[b] else (b, a)
                parent[late] = early
    return {query: root(query) for query in order}
