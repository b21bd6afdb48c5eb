"""Every regular expression of the product, and inputs that make backtracking ones slow."""

import ast
import importlib
import itertools
import re
import re._parser as parser
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from re import _constants as ops

_CALLS = {"compile", "search", "match", "fullmatch", "sub", "subn", "findall", "finditer", "split"}
_AT_START = {"match", "fullmatch"}
_POOL = "a0 \n\t#-_=.,:;|<>()[]{}*`'\"\\/!?&%@+~^$A\u00e9\u4e00\x00"
_MANY = (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """A pattern and how it is asked: `at_start` where only `match` and `fullmatch` are."""

    where: str
    pattern: re.Pattern
    at_start: bool


def modules(packages):
    """(name, file) of each module of these packages, the tests' own apart."""
    for package in packages:
        home = importlib.import_module(package)
        for base in home.__path__:
            for file in sorted(Path(base).rglob("*.py")):
                parts = file.relative_to(base).with_suffix("").parts
                name = ".".join((package, *parts)).removesuffix(".__init__")
                yield name, file


def patterns(packages):
    """What the product compiles, and the calls whose pattern is made of local values."""
    found, unknown, uses = [], [], {}
    trees = [(n, ast.parse(f.read_text("utf-8"))) for n, f in modules(packages)]
    for name, tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                # A public name may be imported; a private one is its module's.
                whose = name if node.value.id.startswith("_") else ""
                uses.setdefault((whose, node.value.id), set()).add(node.attr)
    for name, tree in trees:
        module = None
        named = {
            id(node.value): node.targets[0].id
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(tree):
            if not (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "re"
                and node.func.attr in _CALLS
            ):
                continue
            where = f"{name}:{node.lineno}"
            module = module or importlib.import_module(name)
            place = {"compile": 1, "sub": 4, "subn": 4, "split": 3}.get(node.func.attr, 2)
            flags = [k.value for k in node.keywords if k.arg == "flags"] + node.args[place:]
            try:
                text, *flag = (
                    eval(compile(ast.Expression(e), name, "eval"), vars(module))
                    for e in (node.args[0], *flags[:1])
                )
            except NameError:
                unknown.append(f"{where}: {ast.unparse(node)}")
                continue
            if isinstance(text, re.Pattern):
                pattern = text
            else:
                pattern = re.compile(text, *flag)
            asked = {node.func.attr}
            if node.func.attr == "compile":
                given = named.get(id(node), "")
                asked = uses.get((name if given.startswith("_") else "", given), set()) & _CALLS
            found.append(
                Used(where=where, pattern=pattern, at_start=bool(asked) and asked <= _AT_START)
            )
    return found, unknown


def _of_set(items):
    """Characters that a set takes."""
    negated = items[0][0] is ops.NEGATE
    inside = re.compile(_rebuilt(items))
    return (
        [c for c in _POOL if inside.fullmatch(c)][:3]
        if negated
        else [
            *[chr(v) for op, v in items if op is ops.LITERAL][:2],
            *[chr(v[0]) for op, v in items if op is ops.RANGE][:2],
            *[c for c in _POOL if inside.fullmatch(c)][:2],
        ]
    )


def _rebuilt(items):
    names = {
        ops.CATEGORY_DIGIT: r"\d",
        ops.CATEGORY_NOT_DIGIT: r"\D",
        ops.CATEGORY_SPACE: r"\s",
        ops.CATEGORY_NOT_SPACE: r"\S",
        ops.CATEGORY_WORD: r"\w",
        ops.CATEGORY_NOT_WORD: r"\W",
    }
    text = ""
    for op, value in items:
        if op is ops.NEGATE:
            text += "^"
        elif op is ops.LITERAL:
            text += f"\\U{value:08x}"
        elif op is ops.RANGE:
            text += f"\\U{value[0]:08x}-\\U{value[1]:08x}"
        else:
            text += names[value]
    return f"[{text}]"


def _sample(tree, pumps, before, chars):
    """A string that the tree matches; what it repeats goes to `pumps`, with what is before."""
    text = ""
    for op, value in tree:
        if op is ops.LITERAL:
            text += chr(value)
            chars.append(chr(value))
        elif op is ops.NOT_LITERAL:
            text += next(c for c in _POOL if c != chr(value))
        elif op is ops.ANY:
            text += "a"
        elif op is ops.IN:
            some = _of_set(value) or ["a"]
            chars += some
            text += some[0]
        elif op is ops.BRANCH:
            texts = [_sample(part, pumps, before + text, chars) for part in value[1]]
            text += texts[0]
        elif op is ops.SUBPATTERN:
            text += _sample(value[3], pumps, before + text, chars)
        elif op is ops.ATOMIC_GROUP:
            text += _sample(value, pumps, before + text, chars)
        elif op in _MANY:
            low, high, body = value
            inner = []
            one = _sample(body, pumps, before + text, inner)
            chars += inner
            if high > 20:
                pumps += [("", p) for p in (before + text, before + text + one) if p]
                pumps += [
                    (before + text, p) for p in {one, *inner[:4], one + "".join(inner[:1])} if p
                ]
            text += one * low
        elif op in (ops.ASSERT, ops.ASSERT_NOT):
            _sample(value[1], pumps, before + text, chars)
    return text


def attacks(pattern, size):
    """Strings of about that size that may keep a pattern busy."""
    pumps, chars = [], []
    shown, flags = pattern.pattern, pattern.flags & ~re.DEBUG
    if isinstance(shown, bytes):
        shown, flags = shown.decode("latin-1"), flags | re.A
    whole = _sample(parser.parse(shown, flags), pumps, "", chars)
    kinds = list(dict.fromkeys([*chars, *"a \n"]))
    some = kinds[:: max(1, len(kinds) // 6)][:6]
    pumps += [("", "".join(p)) for n in (1, 2) for p in itertools.product(some, repeat=n)]
    pumps += [("", whole)] + [("", c + d) for c in kinds[:1] for d in kinds]
    for before, pump in dict.fromkeys((b, p) for b, p in pumps if p):
        for after in ("", "\x00"):
            yield before + pump * max(1, size // len(pump)) + after, (before[-20:], pump, after)


class TooSlow(Exception):
    """It was ended."""


def seconds(used, text, most=2.0):
    """CPU seconds that a pattern takes over a text; `most` where it was ended."""

    def end(*_):
        raise TooSlow

    if isinstance(used.pattern.pattern, bytes):
        text = text.encode("latin-1", "replace")
    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, most)
    begun = time.process_time()
    try:
        if used.at_start:
            used.pattern.match(text)
            used.pattern.fullmatch(text)
        else:
            for _ in used.pattern.finditer(text):
                pass
    except TooSlow:
        return most
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return time.process_time() - begun


def worse_than_linear(used, size=12_000):
    """The attack that takes more than in proportion to its length; None where there is none."""
    for text, made in attacks(used.pattern, size):
        # Linear ones take a millisecond or two here; a quadratic one over fifteen.
        if seconds(used, text) < 0.008:
            continue
        _, pump, after = made
        head = text[: len(text) - len(after)]
        double = head + pump * (len(head) // len(pump)) + after
        times = [min(seconds(used, t) for _ in range(2)) for t in (text, double)]
        if times[0] >= 0.008 and times[1] > 2.8 * times[0]:
            return made, times
        if times[0] >= 1.0:
            return made, times
    return None
