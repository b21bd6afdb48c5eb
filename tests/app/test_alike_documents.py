"""Reports that differ in their name and numbers alone: the right one answers."""

from contextlib import closing

import ingest_files as files
import pytest

from rag_app.ask.pipeline import Pipeline
from rag_app.index.store import Store
from rag_app.ingest.ingestion import ingest

COMPANIES = ("Amazon", "Apple", "Intel", "Microsoft", "Netflix", "Oracle")
QUARTERS = ("Q2", "Q3")
REPORT = """# Quarterly report

## Cash flow

The net cash from operating activities of the quarter was ${cash} million, mostly from sales.

## Staff

At the end of the quarter the company had {staff} thousand employees in all regions.
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory, encoder):
    folder = tmp_path_factory.mktemp("alike")
    (folder / "docs").mkdir()
    numbers = {}
    for i, (company, quarter) in enumerate((c, q) for c in COMPANIES for q in QUARTERS):
        numbers[company, quarter] = (1013 + 37 * i, 41 + 3 * i)
        cash, staff = numbers[company, quarter]
        name = f"{company.lower()}_{quarter}-2022.md"
        (folder / "docs" / name).write_text(REPORT.format(cash=cash, staff=staff), "utf-8")
    settings = files.make_settings(folder)
    ingest([folder / "docs"], settings, embedder=encoder)
    with Store.open(settings, embedder=encoder) as store, closing(Pipeline(settings, store)) as p:
        yield p, numbers


@pytest.mark.model
@pytest.mark.parametrize("company", COMPANIES)
@pytest.mark.parametrize("quarter", QUARTERS)
def test_the_named_report_answers(asked, company, quarter):
    pipeline, numbers = asked
    cash, staff = numbers[company, quarter]
    for question, value in (
        (f"What was {company}'s {quarter} 2022 cash flow?", cash),
        (f"How many employees did {company} have at the end of {quarter} 2022?", staff),
    ):
        answer = pipeline.answer(question).answer
        assert f" {value} " in answer.text.replace("$", " "), answer.text
