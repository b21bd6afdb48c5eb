"""A whole judged run in a process of its own, to be killed: python e2e_driver.py URL FOLDER."""

from __future__ import annotations

import sys

import e2e_planted as planted

from rankgate_eval.answers import Spending, compare_answers

QUESTIONS = 8
CONCURRENCY = 4


def main(url: str, folder: str) -> None:
    """Run to the end, over whatever the folder's log has."""
    questions = planted.questions(QUESTIONS)
    arms = {
        "first_stage": planted.hand(questions, planted.wrong),
        "policy": planted.hand(questions, planted.right),
    }
    result = compare_answers(
        questions,
        arms,
        generator=planted.generator(url),
        judge=planted.judge(url, repeat=2),
        folder=folder,
        spending=Spending(concurrency=CONCURRENCY),
    )
    result.save(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
