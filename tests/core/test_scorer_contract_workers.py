"""What every scorer promises to threads, to pickle and to forked workers.

| scorer          | threads    | pickle                 | forked child                     |
|-----------------|------------|------------------------|----------------------------------|
| FakeScorer      | yes        | with default scores    | yes                              |
| LateInteraction | yes        | yes: loads them there  | yes, on one thread               |
| CrossEncoder    | yes (lock) | yes: loads them there  | yes, on one thread               |
| OnnxScorer      | yes        | yes: opens the folder  | yes: opens its own session       |
| RemoteScorer    | yes        | yes: opens connections | yes: opens its own connections   |

A forked child of a process that has run torch would wait for ever for threads that were not
copied; `rankgate.encoders.forking` gives it one thread. A *fresh* process (`spawn`) has them all.
"""

import gc
import os
import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import scorer_contract_kit as kit
from waiting import until

QUERY, TEXTS, SCORERS, FEW, over = kit.QUERY, kit.TEXTS, kit.SCORERS, kit.FEW, kit.over
contract_folder, contract_scorers = kit.contract_folder, kit.contract_scorers
scorer, traits = kit.scorer, kit.traits


def hammer(scorer, traits, *, threads, seconds=0.0, rounds=1):
    """The same calls from many threads; returns how many were made."""
    work = [
        ("paris", TEXTS[:7]),
        ("cat on the mat", TEXTS[3:14]),
        ("river", TEXTS),
        ("x", TEXTS[:1]),
    ]
    wanted = [scorer.score(q, t).values for q, t in work]
    errors, calls = [], [0] * threads
    end = time.monotonic() + seconds
    start = threading.Barrier(threads)

    def body(number):
        try:
            start.wait()
            turn = 0
            while turn < rounds or time.monotonic() < end:
                at = (number + turn) % len(work)
                values = scorer.score(*work[at]).values
                np.testing.assert_allclose(values, wanted[at], atol=traits.tolerance)
                calls[number] += 1
                turn += 1
        except BaseException as exc:
            errors.append(exc)

    workers = [threading.Thread(target=body, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not errors, errors[0]
    return sum(calls)


@over(SCORERS)
def test_threads_get_the_same_results(scorer, traits):
    """sentence-transformers#993: "Already borrowed" from a tokenizer that threads share."""
    assert hammer(scorer, traits, threads=8, rounds=3) == 24


@pytest.mark.slow
@pytest.mark.timeout(600)
@over(FEW)
def test_64_threads_for_30_seconds(scorer, traits):
    assert hammer(scorer, traits, threads=64, seconds=30.0) >= 64


@over(FEW)
def test_pickling(scorer, traits):
    if not traits.pickles:
        # Weights belong to the process that loaded them: an error, and not a hidden copy.
        with pytest.raises((TypeError, pickle.PicklingError, AttributeError)):
            pickle.dumps(scorer)
        return
    twin = pickle.loads(pickle.dumps(scorer))
    try:
        assert twin.info == scorer.info
        np.testing.assert_allclose(
            twin.score(QUERY, TEXTS).values, scorer.score(QUERY, TEXTS).values
        )
    finally:
        close = getattr(twin, "close", None)
        if close is not None:
            close()


@over([p for p in FEW if kit.TRAITS[p.values[0]].forks])
def test_a_forked_worker(scorer):
    """The child must end; a scorer that waits for its parent's threads would not."""
    wanted = scorer.score(QUERY, TEXTS).values
    gc.collect()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        ok = False
        try:
            ok = np.array_equal(scorer.score(QUERY, TEXTS).values, wanted)
        finally:
            os._exit(0 if ok else 1)
    ended = []

    def has_ended():
        done, status = os.waitpid(child, os.WNOHANG)
        ended.extend([status] if done else [])
        return done

    try:
        until(has_ended)
    finally:
        if not ended:
            os.kill(child, 9)
            os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(ended[0]) == 0
    np.testing.assert_array_equal(scorer.score(QUERY, TEXTS).values, wanted)


@pytest.mark.slow
def test_a_fresh_worker_for_torch(contract_scorers, contract_folder):
    """What `spawn` does: a new process loads the model from its folder."""
    code = (
        "import numpy as np; "
        "from rankgate.scorers.cross_encoder import CrossEncoderScorer; "
        f"v = CrossEncoderScorer({str(contract_folder)!r}).score({QUERY!r}, {TEXTS!r}).values; "
        "print(v.tobytes().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    theirs = np.frombuffer(bytes.fromhex(done.stdout.strip()), dtype=np.float32)
    ours = contract_scorers("cross_encoder").score(QUERY, TEXTS).values
    np.testing.assert_allclose(theirs, ours, atol=1e-4)
