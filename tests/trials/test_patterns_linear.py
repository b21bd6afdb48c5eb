"""No regular expression of the tree takes long on a text that was made to make it backtrack.

Every compiled pattern of every module is tried on long repetitions of what it looks for. Time is
the process's own, so that a busy machine is no fault of a pattern.
"""

import importlib
import itertools
import pkgutil
import re
import signal
import time

import fault_kit
import pytest

COMMON = (" ", "\n", "a", "1", ".", "-", "<", "[", "]", "(", "`", "*", "|", "\t", "é")
LENGTH = 20_000
LIMIT_S = 1.0


def patterns():
    """(module and name, pattern) of all patterns that a module or class of the tree keeps."""
    found = {}
    for package in ("rankgate", "rag_app"):
        home = importlib.import_module(package)
        for info in pkgutil.walk_packages(home.__path__, f"{package}."):
            try:
                module = importlib.import_module(info.name)
            except ImportError:  # of an extra that is not installed
                continue
            for name, value in vars(module).items():
                values = {name: value, **(vars(value) if isinstance(value, type) else {})}
                for inner, one in values.items():
                    if isinstance(one, re.Pattern) and one.pattern not in found:
                        found[one.pattern] = (f"{info.name}.{inner}", one)
    return sorted(found.values(), key=lambda f: f[0])


PATTERNS = patterns()


def pumps(pattern, most):
    """What is repeated: characters and short runs of the pattern itself, common ones, and pairs."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin1")
    literal = re.sub(r"\\[a-zA-Z]|\(\?[^)]{0,3}|[\\^$?+{}]", "", source)
    own = [*dict.fromkeys(literal)][:20] + re.findall(r"[a-zA-Z<#:]{2,}", literal)[:8]
    single = list(dict.fromkeys([*own, *COMMON]))
    pairs = ("".join(p) for p in itertools.permutations(single[:14], 2))
    return itertools.islice(itertools.chain(single, pairs), most)


class TooLong(Exception):
    pass


def late(*_):
    raise TooLong


def slowest(pattern, most, length=LENGTH):
    """(CPU seconds, what was repeated) of the worst text; inf where it was broken off."""
    worst = (0.0, "")
    before = signal.signal(signal.SIGVTALRM, late)
    try:
        for pump in pumps(pattern, most):
            for end in ("", "\x00", "!"):
                text = (pump * length)[:length] + end
                given = text if isinstance(pattern.pattern, str) else text.encode("latin1", "ignore")
                begun = time.process_time()
                signal.setitimer(signal.ITIMER_VIRTUAL, 3)
                try:
                    for _ in pattern.finditer(given):
                        pass
                    took = time.process_time() - begun
                except TooLong:
                    took = float("inf")
                finally:
                    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                worst = max(worst, (took, pump))
                if took > LIMIT_S:
                    return worst
    finally:
        signal.signal(signal.SIGVTALRM, before)
    return worst


def test_a_bad_one_is_found():
    assert slowest(re.compile(r"(a+)+b"), 5, length=28)[0] > LIMIT_S


def test_a_few_texts_for_each():
    slow = [(name, *slowest(p, 12)) for name, p in PATTERNS]
    assert len(slow) > 80
    assert [s for s in slow if s[1] > LIMIT_S] == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_texts_for_each():
    slow = [(name, *slowest(p, 160)) for name, p in PATTERNS]
    over = [s for s in slow if s[1] > LIMIT_S]
    worst = max(slow, key=lambda s: s[1])
    fault_kit.figure(
        "patterns", tried=len(slow), texts=160 * 3, length=LENGTH, over_1s=len(over), worst=worst
    )
    assert over == []
