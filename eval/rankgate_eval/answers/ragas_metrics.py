"""Ragas' own metrics with their defects worked around; the only file that imports Ragas.

It is imported itself only where there is a judge (`judge.load_ragas`).
Ragas 0.4.3, each defect with a test that the plain metric fails:

- Faithfulness and FactualCorrectness divide by the verdicts that were returned, not by the
  statements that were asked about: here the count must match, or the sample is missing.
- A verdict of 2 or -1 is summed as it is: here anything but 0 and 1 is asked for again.
- AnswerRelevancy asks `strictness` times at temperature 0.01, and with Ragas' cache only once:
  here every one is a call of its own at temperature 0.3, as in Ragas' older metric.
- An empty question among its samples is left out in silence, a cosine may be negative, and NaN
  where a vector is zero: here the first is asked for again, the second clipped and counted, the
  third missing.
- No claims in an answer score 0 in FactualCorrectness, no statements NaN: here both are missing.
- Ragas sends usage data home unless told not to, and makes a folder in the user's home for it:
  told before it is imported.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

# Read once, on first use, so it must be there before anything of Ragas runs.
os.environ["RAGAS_DO_NOT_TRACK"] = "true"

import instructor
import openai
from instructor.core import InstructorRetryException, ResponseParsingError
from pydantic import ValidationError, create_model, model_validator
from pydantic_core import PydanticCustomError
from ragas import _analytics
from ragas.embeddings.base import BaseRagasEmbedding
from ragas.llms.base import InstructorBaseRagasLLM
from ragas.metrics import collections
from ragas.metrics.collections.factual_correctness.util import (
    ClaimDecompositionInput,
    ClaimDecompositionOutput,
)
from ragas.metrics.collections.factual_correctness.util import NLIStatementInput as ClaimInput
from ragas.metrics.collections.factual_correctness.util import NLIStatementOutput as ClaimOutput
from ragas.metrics.collections.faithfulness.util import NLIStatementInput, NLIStatementOutput
from ragas.metrics.result import MetricResult

from rankgate.judge import GroundingJudge
from rankgate.scorers.remote.spoken import json_values, spoken
from rankgate_eval.answers.local_judge import LocalJudge
from rankgate_eval.errors import CallFailed
from rankgate_eval.paid.calls import Calls, Purpose, digest
from rankgate_eval.paid.endpoint import Endpoint

# Somebody may have imported Ragas before us and made it remember another answer.
_analytics.do_not_track.cache_clear()
# It logs failed calls as errors, which without a handler go to the terminal; ours are counted.
logging.getLogger("instructor").addHandler(logging.NullHandler())

Check = Callable[[Any], None]
"""Raises `PydanticCustomError`, whose type is the reason, where a parsed answer is unusable."""

SAMPLING_TEMPERATURE = 0.3
_FLAGS = ("verdict", "attributed", "noncommittal")
_MODES = {"json": "JSON", "schema": "JSON_SCHEMA", "tools": "TOOLS", "plain": "MD_JSON"}
_MORE_ATTEMPTS = 2


def build_metrics(
    llm: Judging, embeddings: Any, *, strictness: int = 3
) -> dict[str, Callable[..., Awaitable[Any]]]:
    """Metric name to its `ascore`, over this judge; without embeddings no answer relevancy.

    Args:
        embeddings: a `BaseRagasEmbedding`; None: none.
        strictness: questions that answer relevancy samples.
    """
    found: dict[str, Callable[..., Awaitable[Any]]] = {"faithfulness": Faithfulness(llm).ascore}
    if embeddings is not None:
        found["answer_relevancy"] = collections.AnswerRelevancy(
            llm, embeddings, strictness=strictness
        ).ascore
    found["context_precision"] = collections.ContextPrecision(llm).ascore
    found["context_recall"] = collections.ContextRecall(llm).ascore
    found["factual_correctness"] = FactualCorrectness(llm).ascore
    return found


class Faithfulness(collections.Faithfulness):  # type: ignore[misc]
    """Counts the verdicts."""

    async def _create_verdicts(self, statements: list[str], context: str) -> Any:
        given = NLIStatementInput(context=context, statements=statements)
        return await self.llm.asked(
            self.nli_statement_prompt.to_string(given),
            NLIStatementOutput,
            check=_count(len(statements)),
        )


class FactualCorrectness(collections.FactualCorrectness):  # type: ignore[misc]
    """Counts the verdicts, and wants at least one claim."""

    async def _decompose_claims(self, text: str) -> Any:
        given = ClaimDecompositionInput(
            response=text, atomicity=self.atomicity, coverage=self.coverage
        )
        found = await self.llm.asked(
            self.prompt.to_string(given),
            ClaimDecompositionOutput,
            check=_nonempty("claims"),
        )
        return found.claims

    async def _verify_claims(self, claims: list[str], reference: str) -> Any:
        given = ClaimInput(context=reference, statements=claims)
        return await self.llm.asked(
            self.nli_prompt.to_string(given),
            ClaimOutput,
            check=_count(len(claims)),
        )


class LocalFaithfulness(collections.base.BaseMetric):  # type: ignore[misc]
    """rankgate's own judge as a metric of Ragas: no LLM, no key, nothing leaves the machine.

    The mean probability that the statements of `response` stand in `retrieved_contexts`, NaN where
    it claims nothing. Not Ragas' faithfulness, and not comparable with it: hence the name.

    Args:
        judge: None: the one that comes with rankgate, loaded on first use.
        name: of the metric in a result.
    """

    def __init__(
        self, judge: GroundingJudge | None = None, name: str = "local_faithfulness", **kwargs: Any
    ) -> None:
        self._local = LocalJudge(judge=judge)
        super().__init__(name=name, **kwargs)

    async def ascore(
        self, response: str, retrieved_contexts: list[str], user_input: str = ""
    ) -> MetricResult:
        """As `Faithfulness.ascore`; the question plays no part.

        Raises:
            InputError: not a text, or no list of texts.
        """
        value, judged = await asyncio.to_thread(self._local.faithful, retrieved_contexts, response)
        lacking = [f"{g.probability:.2f}: {s.text}" for s, g in judged if not g.supported]
        said = "not found in the contexts: " + " | ".join(lacking) if lacking else "all supported"
        return MetricResult(value=math.nan if value is None else value, reason=said)


class Judging(InstructorBaseRagasLLM):  # type: ignore[misc]
    """Ragas' door to the judge, for one metric of one answer.

    The n-th time that a prompt is asked is a call of its own, with a key of its own.
    """

    def __init__(
        self, endpoint: Endpoint, mode: str, calls: Calls, purpose: Purpose, repeat: int
    ) -> None:
        self._endpoint = endpoint
        self._mode = mode
        self._calls = calls
        self._purpose = purpose
        self._repeat = repeat
        self._asked: Counter[str] = Counter()

    def generate(self, prompt: str, response_model: Any) -> Any:
        """Not used: everything here is async."""
        raise NotImplementedError("use agenerate")

    async def agenerate(self, prompt: str, response_model: Any) -> Any:
        """What the metrics call where they need no check of their own."""
        name = response_model.__name__
        if name == "AnswerRelevanceOutput":
            return await self.asked(
                prompt,
                response_model,
                check=_nonempty("question"),
                temperature=SAMPLING_TEMPERATURE,
            )
        needed = {
            "StatementGeneratorOutput": "statements",
            "ContextRecallOutput": "classifications",
        }.get(name)
        return await self.asked(
            prompt, response_model, check=None if needed is None else _nonempty(needed)
        )

    async def asked(
        self,
        prompt: str,
        response_model: Any,
        *,
        check: Check | None = None,
        temperature: float | None = None,
    ) -> Any:
        """The parsed and checked answer.

        Where it is unusable instructor says so to the judge and asks again; every attempt is
        a paid call like any other. A refusal and a cut-off answer are final: the same
        question would meet the same end.
        """
        hashed = digest([prompt, response_model.__name__])
        nth = self._asked[hashed]
        self._asked[hashed] += 1
        model = self._endpoint.model
        parameters = model.asked_with
        if temperature is not None and "temperature" in parameters:
            parameters["temperature"] = temperature
        wanted = checked(response_model, check)
        strict = self._mode == "schema"

        async def create(**body: Any) -> Any:
            if strict:
                body["response_format"] = _strict_format(wanted)
            reply = await self._calls.chat(
                self._endpoint, body, salt=[self._repeat, nth], purpose=self._purpose
            )
            message = reply.choices[0].message
            if message.content is not None:
                message.content = json_of(message.content)
            return reply

        ask = instructor.patch(create=create, mode=instructor.Mode[_MODES[self._mode]])
        try:
            return await ask(
                response_model=wanted,
                messages=[{"role": "user", "content": prompt}],
                max_retries=_MORE_ATTEMPTS,
                strict=False,
                model=model.name,
                **parameters,
            )
        except InstructorRetryException as exc:
            reason = _reason(response_model.__name__, exc.__cause__)
            raise (exc if reason is None else reason) from None


class Embeddings(BaseRagasEmbedding):  # type: ignore[misc]
    """Ragas' door to the embeddings."""

    def __init__(self, source: Any, calls: Calls, sample: str) -> None:
        super().__init__()
        self._source = source
        self._calls = calls
        self._sample = sample

    def embed_text(self, text: str, **kwargs: Any) -> list[float]:
        """Not used: everything here is async."""
        raise NotImplementedError("use aembed_text")

    async def aembed_text(self, text: str, **kwargs: Any) -> list[float]:
        """One vector."""
        if not isinstance(self._source, Endpoint):
            vector: list[float] = await self._source.embed(text)
            return vector
        purpose = Purpose(role="embeddings", sample=self._sample, metric="answer_relevancy")
        return await self._calls.embed(self._source, text, purpose=purpose)


def json_of(said: str) -> str:
    """The last JSON object of an answer: servers without a JSON mode put words around it.

    The answer itself where there is none; that is instructor's to complain of.
    """
    words = spoken(said)
    objects = [value for value in json_values(words) if isinstance(value, dict)]
    return json.dumps(objects[-1], ensure_ascii=False) if objects else words


def checked(model: Any, check: Check | None) -> Any:
    """The same pydantic model, which also refuses what Ragas would count without a look.

    That is yes-or-no numbers other than 0 and 1, and what the check refuses.
    """

    def usable(parsed: Any) -> Any:
        _check_flags(parsed)
        if check is not None:
            check(parsed)
        return parsed

    validators: Any = {"usable": model_validator(mode="after")(usable)}
    return create_model(model.__name__, __base__=model, __validators__=validators)


def _check_flags(parsed: Any) -> None:
    for name, value in parsed:
        if name in _FLAGS and value not in (0, 1):
            raise _unusable("invalid", f"{name} must be 0 or 1, got {value}")
        for item in value if isinstance(value, list) else ():
            if hasattr(item, "model_fields_set"):
                _check_flags(item)


def _count(wanted: int) -> Check:
    """Refuses another number of verdicts than was asked for."""

    def check(parsed: Any) -> None:
        got = len(parsed.statements)
        if got != wanted:
            raise _unusable("verdict_count", f"{got} verdicts for {wanted} statements")

    return check


def _nonempty(attribute: str) -> Check:
    """Refuses an empty list, or text."""

    def check(parsed: Any) -> None:
        if not getattr(parsed, attribute):
            raise _unusable(f"no_{attribute}", f"`{attribute}` is empty")

    return check


def _unusable(reason: str, said: str) -> Exception:
    return PydanticCustomError(reason, said)


def _strict_format(model: Any) -> dict[str, Any]:
    """The response format of structured outputs: every property required, no others."""
    function = openai.pydantic_function_tool(model)["function"]
    described = {"name": function["name"], "schema": function["parameters"], "strict": True}
    return {"type": "json_schema", "json_schema": described}


def _reason(name: str, cause: BaseException | None) -> BaseException | None:
    """What was wrong with the last attempt; whatever else ended the asking stays what it is."""
    if isinstance(cause, ValidationError):
        first = cause.errors(include_url=False, include_context=False)[0]
        ours = first["type"] == "verdict_count" or first["type"].startswith("no_")
        detail = f"{name}: {first['msg']}"
        return CallFailed(first["type"] if ours else "invalid", detail[:300])
    if isinstance(cause, json.JSONDecodeError | ResponseParsingError):
        return CallFailed("invalid", f"{name}: {cause}"[:300])
    return cause
