"""A running server, as the commands find it that need its data folder.

`server.json` in the folder has its address and a secret, made anew with each start and readable by
the folder's owner alone. Whoever has the secret may do what the folder's owner may: so commands go
through the server, with keys on it or without, where they would find the folder taken.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_app.errors import StoreError
from rag_app.index.private import private_files, private_folder
from rag_app.ingest.report import IngestReport, Progress

if TYPE_CHECKING:
    import httpx

    from rag_app.ask.pipeline import Pipeline
    from rag_app.settings import Settings

FILE = "server.json"
_PREFIX = "owner-"
_LOOK_S = 10.0


def write_private(file: Path, text: str) -> None:
    """Write a file whole or not at all, readable by its owner alone."""
    private_folder(file.parent)
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    part.replace(file)


@contextmanager
def announced(folder: Path, url: str) -> Iterator[None]:
    """Say in the data folder that a server answers at `url`, as long as the block lasts."""
    secret = f"{_PREFIX}{secrets.token_urlsafe(32)}"
    write_private(folder / FILE, json.dumps({"url": url, "secret": secret}))
    try:
        yield
    finally:
        (folder / FILE).unlink(missing_ok=True)


def is_owner(folder: Path, token: str) -> bool:
    """Whether a bearer token is the secret of the server that has announced itself here."""
    if not token.startswith(_PREFIX):
        return False
    known = _announced(folder)
    return known is not None and hmac.compare_digest(token.encode(), known["secret"].encode())


def _announced(folder: Path) -> dict[str, str] | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        read = json.loads((folder / FILE).read_text("utf-8"))
        return {name: str(read[name]) for name in ("url", "secret")}
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The server that has a data folder open; asked with its owner's secret.

    Raises:
        StoreError: from every call: the server's own words, or that it went away meanwhile.
    """

    url: str
    secret: str

    @classmethod
    def find(cls, folder: Path) -> Served | None:
        """The server of this folder; None where none runs, also where one was killed."""
        known = _announced(folder)
        if known is None:
            return None
        import httpx

        server = cls(**known)
        with suppress(httpx.HTTPError, ValueError), server.client(_LOOK_S) as client:
            found = client.get("/v1/local")
            if found.status_code == 200 and found.json()["data_dir"] == str(folder.resolve()):
                return server
        return None

    def client(self, timeout_s: float | None = None) -> httpx.Client:
        """For a few requests; an answer may take as long as it likes, unless told otherwise."""
        import httpx

        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.secret}"},
            timeout=httpx.Timeout(timeout_s, connect=_LOOK_S),
            trust_env=False,  # it is on this machine: no proxy knows it
        )

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """What a route of the public interface answers."""
        import httpx

        try:
            with self.client() as client:
                response = client.request(method, path, json=body)
                told = response.json()
        except (httpx.HTTPError, ValueError) as exc:
            raise StoreError(f"the server {self.url} broke off: {exc}. Try again.") from exc
        if response.is_error:
            raise StoreError(f"{told['message']} (said by {self.url})")
        return told

    def call(self, action: str, **body: Any) -> Any:
        """The result of an action of `rag_app.server.routes.local`."""
        *_, last = self.stream(action, **body)
        return last["result"]

    def stream(self, action: str, **body: Any) -> Iterator[dict[str, Any]]:
        """What an action says on its way, and its result as the last."""
        import httpx

        try:
            with (
                self.client() as client,
                client.stream("POST", f"/v1/local/{action}", json=body) as response,
            ):
                if response.status_code != 200:
                    response.read()
                    raise StoreError(f"{response.json()['message']} (said by {self.url})")
                for line in response.iter_lines():
                    if line.startswith("data: "):
                        said = json.loads(line.removeprefix("data: "))
                        if "error" in said:
                            raise StoreError(said["error"]["message"])
                        yield said
                        if "result" in said:
                            return
        except (httpx.HTTPError, ValueError) as exc:
            raise StoreError(f"the server {self.url} broke off: {exc}. Try again.") from exc
        raise StoreError(f"the server {self.url} broke off. Try again.")


def said(
    pipeline: Pipeline,
    question: str,
    *,
    search: bool = False,
    force: str | None = None,
    **options: Any,
) -> Iterator[str | dict[str, Any]]:
    """Pieces of an answer as they are written, then `AnswerResult.told`.

    Args:
        search: retrieve and rerank alone.
        options: of `Pipeline.stream`; it raises what that raises.
    """
    from rag_app.ask.result import AnswerResult
    from rankgate.decide.gate import Action

    options["force"] = None if force is None else Action(force)
    if search:
        yield pipeline.search(question, **options).told()
        return
    for item in pipeline.stream(question, pieces=True, **options):
        yield item.told() if isinstance(item, AnswerResult) else item


@contextmanager
def answering(settings: Settings) -> Iterator[Callable[..., dict[str, Any]]]:
    """What answers questions: the server that runs over the data folder, or else this process.

    The function takes a question and the options of `said`, and `write`, which is told each piece
    of the answer; it gives `AnswerResult.told`.

    Raises:
        ConfigError: nothing is ingested, or the index cannot be opened.
    """
    with ExitStack() as opened:
        server = Served.find(settings.data_dir)
        if server is None:
            from rag_app.ask.pipeline import Pipeline

            opened.enter_context(private_files())  # an index that is built anew
            pipeline = opened.enter_context(Pipeline.open(settings))

        def items(question: str, **options: Any) -> Iterator[str | dict[str, Any]]:
            if server is None:
                return said(pipeline, question, **options)
            options["history"] = [asdict(exchange) for exchange in options.get("history", ())]
            body = {"question": question, "collection": settings.collection, **options}
            return (
                s["result"] if "result" in s else s["piece"] for s in server.stream("ask", **body)
            )

        def ask(
            question: str, *, write: Callable[[str], object] | None = None, **options: Any
        ) -> dict[str, Any]:
            for item in items(question, **options):
                if isinstance(item, dict):
                    return item
                if write is not None:
                    write(item)
            raise StoreError("the answer broke off")  # not reached

        yield ask


def ingest(
    paths: Sequence[Path],
    settings: Settings,
    *,
    progress: Callable[[Progress], None],
    rebuild: bool = False,
) -> IngestReport:
    """As `rag_app.ingest.ingestion.ingest`, through the server where one runs over the folder."""
    server = Served.find(settings.data_dir)
    if server is None:
        from rag_app.ingest.ingestion import ingest as run

        return run(paths, settings, progress=progress, rebuild=rebuild)
    absolute = [os.path.abspath(path.expanduser()) for path in paths]
    body = {"paths": absolute, "collection": settings.collection, "rebuild": rebuild}
    for told in server.stream("ingest", **body):
        if "result" in told:
            return IngestReport.of(told["result"])
        progress(Progress(**told["progress"]))
    raise StoreError("the ingestion broke off")  # not reached
