"""The official clients of the interfaces that the server speaks, over a real connection."""

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import httpx
import ingest_files as files
import openai
import pytest
import server_rig as rig
from waiting import until

from rag_app.generate.errors import GeneratorError

ASKED = [{"role": "user", "content": "How long does a sourdough rest?"}]
ANSWER = "A sourdough rests for twelve hours in a cool place. [1]"
DOCUMENTS = ["bread and butter", "the gate decides", "the gate decides about bread"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("clients")
    with rig.on_port(base, files) as (url, _, opened):
        yield url, rig.key(opened.settings, role="evaluator", collections=["default"])


@pytest.fixture
def client(server):
    url, secret = server
    with openai.OpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=0, timeout=30) as found:
        yield found


def test_openai_whole(client):
    done = client.chat.completions.create(model="rankgate", messages=ASKED)
    assert done.choices[0].message.content == ANSWER and done.choices[0].finish_reason == "stop"
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens > 0
    assert done.model_extra["rankgate"]["sources"][0]["title"] == "bread"
    assert [m.id for m in client.models.list()] == ["rankgate", "rankgate:default"]
    assert client.models.retrieve("rankgate:default").owned_by == "rankgate"


@pytest.mark.filterwarnings("ignore")  # its clients are closed with the process
def test_the_documentation_shows_what_works(server):
    """The blocks of docs/server.md, with this server's address and key put in."""
    url, secret = server
    page = Path(__file__).parents[2] / "docs" / "server.md"
    blocks = re.findall(r"^```py\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    for block in blocks:
        code = block.replace("http://127.0.0.1:8000", url).replace("rk-...", secret)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr


def test_openai_streamed(client):
    chunks = list(
        client.chat.completions.create(
            model="rankgate", messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ANSWER
    assert chunks[-1].usage.total_tokens > 0 and chunks[-1].choices == []
    assert chunks[-2].model_extra["rankgate"]["sources"][0]["title"] == "bread"


def test_openai_streaming_helper(client):
    with client.chat.completions.stream(model="rankgate", messages=ASKED) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.delta" in kinds and "content.done" in kinds
    assert final.choices[0].message.content == ANSWER


async def test_openai_async(server):
    url, secret = server
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=secret, timeout=30) as client:
        done = await client.chat.completions.create(model="rankgate", messages=ASKED)
        assert done.choices[0].message.content == ANSWER
        pieces = [
            chunk.choices[0].delta.content or ""
            async for chunk in await client.chat.completions.create(
                model="rankgate", messages=ASKED, stream=True
            )
        ]
        assert "".join(pieces) == ANSWER


def test_openai_maps_our_errors_to_its_classes(client, server):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=ASKED)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert caught.value.request_id
    with pytest.raises(openai.BadRequestError, match="only 1 answer"):
        client.chat.completions.create(model="rankgate", messages=ASKED, n=2)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="rankgate", messages=[])
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="rk-00000000-wrong").models.list()


def test_openai_sees_an_error_in_mid_stream_and_429(tmp_path):
    writer = rig.StepGenerator(["half "], error=GeneratorError("the LLM hung up"))
    options = {"generator": writer, "max_concurrent": 1, "max_waiting": 0}
    with rig.on_port(tmp_path, files, **options) as (url, app, _):
        with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0, timeout=30) as client:
            writer.let(1)
            stream = client.chat.completions.create(model="rankgate", messages=ASKED, stream=True)
            got = []
            with pytest.raises(openai.APIError, match="the LLM hung up"):
                got.extend(c.choices[0].delta.content for c in stream)
            until(lambda: app.state.server.workers.taken == 0)
            stream = client.chat.completions.create
            busy = rig.threading.Thread(target=lambda: _quietly(stream))
            busy.start()
            until(lambda: app.state.server.workers.taken == 1)
            with pytest.raises(openai.RateLimitError):
                client.chat.completions.create(model="rankgate", messages=ASKED)
            writer.let(2)
            busy.join(20)


def _quietly(create):
    with pytest.raises(openai.APIError):
        create(model="rankgate", messages=ASKED)


def test_langchain_chatopenai(server):
    from langchain_openai import ChatOpenAI

    url, secret = server
    with httpx.Client(timeout=30) as http:
        llm = ChatOpenAI(
            model="rankgate",
            base_url=f"{url}/v1",
            api_key=secret,
            stream_usage=True,
            http_client=http,
        )
        done = llm.invoke("How long does a sourdough rest?")
        assert done.content == ANSWER and done.usage_metadata["total_tokens"] > 0
        pieces = list(llm.stream("How long does a sourdough rest?"))
        assert "".join(p.content for p in pieces) == ANSWER


@contextlib.contextmanager
def cohere_client(url, secret):
    import cohere

    with httpx.Client(timeout=30) as http:
        yield cohere.ClientV2(api_key=secret, base_url=url, httpx_client=http)


# The client's generated models use what pydantic has deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_cohere_rerank(server):
    with cohere_client(*server) as client:
        found = client.rerank(
            model="rankgate", query="gate decides bread", documents=DOCUMENTS, top_n=2
        )
    assert [r.index for r in found.results] == [2, 1]
    assert found.results[0].relevance_score == pytest.approx(1.0)
    assert found.meta.api_version.version == "2"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_cohere_maps_our_errors_to_its_classes(server):
    import cohere

    with cohere_client(*server) as client:
        with pytest.raises(cohere.UnprocessableEntityError) as caught:
            client.rerank(model="rankgate", query="q", documents=[])
    assert "documents" in caught.value.body["message"]
    with cohere_client(server[0], "rk-00000000-wrong") as client:
        with pytest.raises(cohere.UnauthorizedError):
            client.rerank(model="rankgate", query="q", documents=["d"])


def test_our_own_remote_scorer_reads_our_own_server(server):
    """What we serve as Cohere's and Jina's interface, our client of them understands."""
    from rankgate.scorers.remote.scorer import RemoteScorer

    url, secret = server
    for dialect in ("cohere", "jina"):
        with httpx.Client() as http:
            scorer = RemoteScorer(
                url, dialect=dialect, model="rankgate", api_key=secret, client=http
            )
            scores = scorer.score("gate decides bread", DOCUMENTS)
        assert scores.complete
        assert [float(v) for v in scores.values] == pytest.approx([1 / 3, 2 / 3, 1.0])
