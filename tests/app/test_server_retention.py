"""Old conversations go at the start and once a day, from the file too; the rest stays."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import ingest_files as files
import pytest
import server_rig as rig
from waiting import auntil

from rag_app.ask.conversations import Conversations
from rag_app.server.app import forgetting
from rag_app.settings import Settings

OLD, NEW = "quokka-0815", "wombat-4711"


def talk(kept, marker, *, days):
    """A conversation whose last turn came so many days ago."""
    made = kept.create(owner="ann", collection="default")
    kept.append(
        made.id, owner="ann", question=f"{marker}?", answer=marker, status="answered", details={}
    )
    then = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=days)
    changed = "UPDATE conversation SET updated = ? WHERE id = ?"
    files.run_sql(kept.path, changed, then.isoformat(" "), made.id)
    return made.id


def holding(folder, marker):
    found = folder.glob("conversations.sqlite*")
    return [p.name for p in found if marker.encode() in p.read_bytes()]


async def test_a_starting_server_deletes_what_is_too_old_from_the_file_too(tmp_path):
    folder = Path(files.make_settings(tmp_path).data_dir)
    kept = Conversations(folder)
    talk(kept, OLD, days=30.01)
    stays = talk(kept, NEW, days=29.99)
    kept.close()
    assert holding(folder, OLD)
    async with rig.in_process(tmp_path, files, conversation_days=30) as client:
        assert holding(folder, OLD) == []
        server = client.app.state.server
        assert [c.id for c in server.conversations.all("ann")] == [stays]
        assert holding(folder, NEW)


async def test_without_the_setting_nothing_goes(tmp_path):
    folder = Path(files.make_settings(tmp_path).data_dir)
    kept = Conversations(folder)
    talk(kept, OLD, days=5000)
    kept.close()
    async with rig.in_process(tmp_path, files) as client:
        assert client.app.state.server.conversations.count() == 1


async def test_it_is_looked_at_again_while_the_server_runs(tmp_path):
    kept, before = Conversations(tmp_path), asyncio.all_tasks()
    async with forgetting(kept, 1, every_s=0.01):
        talk(kept, OLD, days=2)
        stays = talk(kept, NEW, days=0.5)
        await auntil(lambda: kept.count() == 1 and not holding(tmp_path, OLD))
        assert [c.id for c in kept.all("ann")] == [stays]
        assert holding(tmp_path, OLD) == []
    talk(kept, OLD, days=2)
    assert asyncio.all_tasks() == before, "nothing is deleted once the server has stopped"
    assert kept.count() == 2
    kept.close()


async def test_a_day_on_which_it_fails_is_not_the_last_one(tmp_path, caplog):
    kept = Conversations(tmp_path)
    talk(kept, NEW, days=0)
    async with forgetting(kept, 1, every_s=0.01):
        files.run_sql(kept.path, "ALTER TABLE conversation RENAME TO elsewhere")
        await auntil(lambda: "could not be deleted" in caplog.text)
        files.run_sql(kept.path, "ALTER TABLE elsewhere RENAME TO conversation")
        talk(kept, OLD, days=2)
        await auntil(lambda: kept.count() == 1)
    kept.close()


class Failing:
    """Fails as nobody expected, the second time that it is asked."""

    def __init__(self):
        self.asked = 0

    def forget_older_than(self, days):
        self.asked += 1
        if self.asked == 2:
            raise RuntimeError("a broken engine")
        return 0


async def test_nor_is_a_day_on_which_it_fails_as_nobody_expected(caplog):
    kept = Failing()
    async with forgetting(kept, 1, every_s=0.01):
        await auntil(lambda: kept.asked > 3)  # it went on
    assert "could not be deleted" in caplog.text and "a broken engine" in caplog.text


@pytest.mark.parametrize("days", [0, -1, 1e9])
def test_days_are_more_than_none(days):
    with pytest.raises(ValueError, match="conversation_days"):
        Settings(conversation_days=days)
