"""Questions that nearly have an answer: the data set's own, about another name or number.

A question whose passages were removed is easy to refuse: nothing on its subject is left. People
ask for what the documents nearly say. So a name, year or number of an answerable question is
changed for another one of its type from elsewhere in the corpus, and the question is kept where
no passage puts the new one and the rest of the question together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.normalise import normalised_words
from rankgate_eval.negatives.mentions import Mention, Mentions
from rankgate_eval.negatives.unanswerable import NEAR_MISS, Question
from rankgate_eval.stats.folds import spread

_LEAST_REST = 2  # words beside what was changed, or the new question is another question
_TOGETHER = 0.6  # of those words in a passage with the new name: it may answer
_TRIES = 10
_SMALL_WORDS = frozenset(
    "a an and are as at be been but by can could did do does for from had has have how i if in "
    "into is it its many me much my no not of on or s should so some such t that the their then "
    "there these they this to was we were what when where which who whom whose why will with "
    "would you your".split()
)


def near_miss_questions(
    data: Dataset,
    query_ids: Sequence[str],
    *,
    embed: Callable[[Sequence[str]], npt.NDArray[np.float32]],
    at_most: int,
    seed: int = 0,
) -> list[Question]:
    """One near miss for each of these questions, as far as one can be made.

    Nobody has read them: a passage that answers in other words is not noticed.

    Args:
        data: passages, and questions with a relevant passage.
        query_ids: of answerable questions.
        embed: (n, d) unit vectors of n texts: which names are alike.
        at_most: questions to make, spread over the data set.
        seed: of which place of a question is changed, and of numbers.
    """
    mentions = Mentions(data.corpus, embed)
    words = {p: frozenset(normalised_words(text)) for p, text in data.corpus.items()}
    made = []
    for number, query in enumerate(query_ids):
        rng = np.random.default_rng([seed, 61, number])
        text = _changed(data, query, mentions, words, rng)
        if text is not None:
            made.append(
                Question(
                    id=f"{NEAR_MISS}:{query}",
                    text=text,
                    stratum=NEAR_MISS,
                    group=data.group_of(query),
                )
            )
    kept = set(spread([question.id for question in made], at_most))
    return [question for question in made if question.id in kept]


def _changed(
    data: Dataset,
    query: str,
    mentions: Mentions,
    words: Mapping[str, frozenset[str]],
    rng: np.random.Generator,
) -> str | None:
    question = data.queries[query]
    relevant = data.relevant(query)
    places = mentions.of(question)
    for index in rng.permutation(len(places)).tolist():
        place: Mention = places[index]
        left = question[: place.start] + " " + question[place.end :]
        rest = set(normalised_words(left)) - _SMALL_WORDS
        if len(rest) < _LEAST_REST:
            continue
        others = mentions.alike(place.key)
        if place.key[0].isdigit():  # one number is as good as another
            others = [others[i] for i in rng.permutation(len(others)).tolist()]
        for other in others[:_TRIES]:
            # In the gold passage itself it is no other subject: what is asked may stand there.
            if any(set(normalised_words(other)) <= words[p] for p in relevant):
                continue
            together = max(len(rest & words[p]) / len(rest) for p in mentions.passages[other])
            if together < _TOGETHER:
                name = mentions.surfaces[other]
                if question[place.start : place.end].islower():
                    name = name.lower()
                return question[: place.start] + name + question[place.end :]
    return None
