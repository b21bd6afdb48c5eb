"""What a caller is not told, and what an answer does not carry."""

import ingest_files as files
import pytest
import server_rig as rig

from rag_app.ask.conversations import Conversations, export_markdown
from rag_app.generate.citations import CitationNumbering
from rag_app.generate.errors import GeneratorError
from rag_app.generate.markdown_html import answer_html
from rag_app.quality import figures

ASK = {"model": "rankgate", "messages": [{"role": "user", "content": "What does the gate decide?"}]}


@pytest.mark.parametrize("pieces", [(), ("one ",)])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_language_models_address_and_words_are_for_evaluators(tmp_path, stream, pieces):
    error = GeneratorError("http://10.0.0.7:9999/v1 said: quota of sk-secret is used up")
    generator = rig.StepGenerator(pieces, error=error)
    async with rig.in_process(tmp_path, files, generator=generator) as client:
        said = {}
        for role in ("user", "evaluator"):
            generator.let(1)
            headers = rig.bearer(rig.key(client.settings, role=role))
            body = {**ASK, "stream": stream}
            said[role] = (
                await client.post("/v1/chat/completions", json=body, headers=headers)
            ).text
    assert "10.0.0.7" in said["evaluator"]
    assert "generator_failed" in said["user"] and "its log" in said["user"]
    assert "10.0.0.7" not in said["user"] and "sk-secret" not in said["user"]


async def test_a_report_of_another_collection_is_not_there(tmp_path):
    collections = {"alpha": rig.TEXTS, "beta": rig.TEXTS}
    async with rig.in_process(tmp_path, files, collections=collections) as client:
        for name in ("alpha", "beta", "both-of-june"):
            folder = client.settings.data_dir / "reports" / name
            folder.mkdir(parents=True)
            (folder / "report.html").write_text("<p>Questions of a report.</p>")
        key = rig.key(client.settings, role="evaluator", collections=["alpha"])
        every = rig.key(client.settings, role="evaluator")
        for name, status in (("alpha", 200), ("beta", 404), ("both-of-june", 404)):
            path = f"/quality/reports/{name}"
            assert (await client.get(path, headers=rig.bearer(key))).status_code == status
            assert (await client.get(path, headers=rig.bearer(every))).status_code == 200
        page = (await client.get("/quality?collection=alpha", headers=rig.bearer(key))).text
        assert "reports/alpha" in page and "reports/beta" not in page and "june" not in page
        assert len(figures.reports(client.settings.data_dir)) == 3


@pytest.mark.parametrize(
    "pieces", [["See [1](http://evil.example)."], ["See [1]", "(http://e", ")."]]
)
def test_a_citation_is_never_the_text_of_a_link(pieces):
    numbering = CitationNumbering(available=2)
    text = "".join(map(numbering.feed, pieces)) + numbering.finish()
    assert text.startswith("See [1] (http://e")
    html = answer_html(text, cited=[1])
    assert 'href="#source-1"' in html and 'href="http' not in html


@pytest.mark.parametrize("text", ["[[1]](http://e.x)", "[**1**](http://e.x)", "[ 1 ](http://e.x)"])
def test_a_link_whose_words_are_a_number_is_none(text):
    assert "http://e.x" not in answer_html(text, cited=[1])
    assert 'href="http://e.x"' in answer_html("[the manual](http://e.x)", cited=[1])


def test_an_export_fetches_nothing(tmp_path):
    kept = Conversations(tmp_path)
    made = kept.create(owner="ann", collection="default")
    answer = "So ![x](http://e.x/1.png) and <IMG src=http://e.x/2> but a < b."
    kept.append(made.id, owner="ann", question="Why?", answer=answer, status="answered", details={})
    text = export_markdown(kept.get(made.id, owner="ann"))
    kept.close()
    assert "![" not in text and "<IMG" not in text and "a < b" in text
