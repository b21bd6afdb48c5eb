"""Settings of the application: defaults, one TOML file, the environment, the command line.

The only place where the application reads the environment. Unknown keys are errors: a
misspelt `refuse_blow` that is silently ignored would be a floor that is silently off.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from rag_app.names import check_name
from rankgate.adapters.token_cache import TOKEN_CACHE_VARIABLE
from rankgate.decide.sufficiency import ReaderName
from rankgate.errors import ConfigError, InputError
from rankgate.scorers.build import ScorerName

CONFIG_FILE = "rankgate.toml"
ENV_PREFIX = "RANKGATE_"
_CONFIG_VARIABLE = f"{ENV_PREFIX}CONFIG"
_RENAMED = {"shadow_rate": "skip_audit_rate"}
_SERVER = re.compile(r"https?://(\[[\da-f:.]+\]|[^\s/?#@:\[\]]+)(?::(?P<port>\d+))?/*", re.I)
_PATHS = ("data_dir", "embedder_path", "policy", "policy_b")

Origin = Literal["default", "file", "environment", "command line"]


class Settings(BaseSettings):
    """Every setting of the application, validated.

    `Settings(...)` takes its arguments and the defaults, nothing else, so that a program or a
    test gets what it asked for. `Settings.load` also reads the file and the environment, and
    knows where each value came from (`origins`).
    """

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,
        env_parse_none_str="none",
    )

    data_dir: Path = Field(Path(".rankgate"), description="folder of the index and its manifest")
    collection: str = Field("default", description="which index in the data folder")
    space: Literal["cosine", "l2", "ip"] = Field("cosine", description="Chroma's vector space")
    chroma_url: str | None = Field(
        None, description="Chroma server, http://HOST:PORT; none: vectors in the data folder"
    )
    chroma_timeout_s: float = Field(30, gt=0, description="seconds for one request to it")
    embedder_path: Path | None = Field(None, description="folder of a sentence encoder")
    chunk_tokens: int = Field(200, ge=16, le=2000, description="tokens a chunk, at most")
    chunk_overlap: int = Field(40, ge=0, description="tokens that neighbouring chunks share")
    max_file_mb: float = Field(50, gt=0, description="larger files are not read")
    max_pages: int = Field(2000, ge=1, description="PDFs with more pages are not read")
    parse_timeout_s: float = Field(60, gt=0, description="seconds for reading and cutting a file")
    parse_memory_mb: int = Field(2048, ge=128, description="memory for reading and cutting a file")
    max_passages: int = Field(20_000, ge=1, description="files of more passages are not read")
    batch_size: int = Field(32, ge=1, description="chunks embedded at once")
    scorer: str = Field(
        "late-interaction",
        description="late-interaction, late-interaction:FILE (question layers of your own), "
        "cross-encoder:NAME_OR_PATH, onnx:FOLDER, cohere:MODEL or another remote server",
    )
    scorer_api_key: SecretStr | None = Field(
        None, description="key of a remote scorer, which is sent questions and passages"
    )
    scorer_cache_mb: float = Field(
        64, ge=0, description="memory for scores that were computed before; 0: none are kept"
    )
    policy: Path | None = Field(None, description="policy file; none: the bundled default")
    policy_b: Path | None = Field(
        None,
        description="second policy file: each answer takes passages of both in turns, and the page "
        "Quality says which is preferred; none: one policy answers",
    )
    sufficiency: str | None = Field(
        None,
        description="who reads question and passages where the policy is unsure whether they hold "
        "the answer: reader:FILE, cross-encoder:NAME, nli:NAME, llm (that of openai_model, which "
        "is sent them) or off; none: whom the policy was fitted with",
    )
    k: int | None = Field(None, ge=1, description="candidates to read; none: the policy's")
    top_n: int | None = Field(None, ge=1, description="passages to keep; none: the policy's")
    deadline_ms: float | None = Field(None, gt=0, description="for reranking; none: the policy's")
    generator: Literal["extractive", "openai"] = Field(
        "extractive", description="extractive: nothing leaves the machine; openai: any such API"
    )
    openai_base_url: str | None = Field(None, description="API of the LLM; none: OpenAI's own")
    openai_model: str | None = Field(None, description="name of the LLM; openai needs it")
    openai_api_key: SecretStr | None = Field(None, description="key of that API; never shown")
    openai_timeout_s: float = Field(
        60,
        gt=0,
        description="seconds until the LLM begins an answer, and between two of its pieces",
    )
    condense: Literal["auto", "rule", "off"] = Field(
        "auto",
        description="follow-up questions: auto: by the LLM where the generator is openai, else by "
        "rule; off: each question alone",
    )
    rewrite: Literal["auto", "spelling", "off"] = Field(
        "auto",
        description="also search for corrected spelling; auto: short questions by the LLM, too, "
        "where the generator is openai",
    )
    unsupported: Literal["mark", "drop", "off"] = Field(
        "mark",
        description="sentences of an LLM that its sources do not support: marked as not found in "
        "the sources; drop: left out, and the answer comes in one piece; off: not looked for",
    )
    context_tokens: int = Field(
        1500, ge=50, description="tokens of passages that are answered from"
    )

    api_key: SecretStr | None = Field(
        None, description="your key, for commands that go through a server; never shown"
    )
    host: str = Field("127.0.0.1", description="address that the server listens on")
    port: int = Field(8000, ge=0, le=65535, description="port of the server; 0: any free one")
    max_body_mb: float = Field(2, gt=0, description="largest request, uploads apart")
    max_upload_mb: float = Field(50, gt=0, description="largest upload, all its files together")
    quota_mb: float | None = Field(
        None, gt=0, description="uploads of one key, all together; none: no limit"
    )
    quota_passages: int | None = Field(
        None, ge=1, description="passages of one key's uploads; none: no limit"
    )
    quota_collections: int | None = Field(
        100, ge=1, description="collections that one key uploads into; none: no limit"
    )
    max_concurrent: int = Field(4, ge=1, description="questions answered at the same time")
    max_waiting: int = Field(16, ge=0, description="questions that may wait; more get 429")
    request_timeout_s: float = Field(60, gt=0, description="seconds for one request")
    trusted_hosts: tuple[str, ...] = Field(
        (), description="names of the server besides its address, such as those a proxy uses"
    )
    trusted_proxies: tuple[str, ...] = Field(
        ("127.0.0.1",),
        description="addresses or networks of proxies whose X-Forwarded-* headers are believed",
    )
    cors_origins: tuple[str, ...] = Field(
        (), description="foreign origins whose pages may call the server; usually none"
    )
    log_format: Literal["text", "json", "none"] = Field(
        "text", description="one line a request on stderr, without its words; none: no such line"
    )

    metrics_open: bool = Field(
        False,
        description="/metrics needs no key, although there are keys; without keys it never does",
    )
    conversation_days: float | None = Field(
        None,
        gt=0,
        le=36500,
        description="conversations are deleted so many days after their last turn; none: never",
    )
    skip_audit_rate: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of skipped questions that are reranked after the answer, to measure "
        "what skipping costs; 0: none",
    )
    feedback: bool = Field(
        False,
        description="keep thumbs, opened sources and questions asked again, with question and "
        "passages, on disk",
    )
    question_log: bool = Field(
        False,
        description="keep every question, with its words and what became of it, in "
        "question_log.jsonl, for `rankgate calibrate --from-log`",
    )

    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)
    _file: Path | None = PrivateAttr(default=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the constructor is given; `load` adds the rest, because it keeps origins."""
        return (init_settings,)

    @field_validator("collection")
    @classmethod
    def _named_plainly(cls, value: str) -> str:
        return check_name(value)

    @field_validator("chroma_url")
    @classmethod
    def _a_server(cls, value: str | None) -> str | None:
        if value is None:
            return None
        found = _SERVER.fullmatch(value)
        if found is None or not 0 < int(found["port"] or 80) < 65536:
            raise ValueError("must be http://HOST:PORT or https://HOST:PORT, without a path")
        return value.rstrip("/")

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            try:
                ip_network(address)
            except ValueError as exc:
                raise ValueError(
                    "a proxy is an address or a network, like 172.18.0.2 or 172.18.0.0/16 (host "
                    f"bits zero); got {address!r}"
                ) from exc
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins_alone(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not re.fullmatch(r"https?://[^/\s*?#]+", origin):
                raise ValueError(
                    f"an origin is like https://intranet.example, without a path; got {origin!r}"
                )
        return value

    @field_validator("log_format", mode="before")
    @classmethod
    def _none_is_a_word(cls, value: Any) -> Any:
        # In the environment `none` stands for no value, here it is one.
        return "none" if value is None else value

    @field_validator("scorer")
    @classmethod
    def _known_scorer(cls, value: str) -> str:
        try:
            parts = ScorerName.parse(value)
        except InputError as exc:
            raise ValueError(str(exc)) from exc
        # No shell does it behind a colon.
        at_home = parts.name.startswith("~") and not parts.remote
        return f"{parts.kind}:{_at_home(parts.name)}" if at_home else value

    @field_validator("sufficiency")
    @classmethod
    def _known_reader(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            name = ReaderName.parse(value)
        except ConfigError as exc:
            raise ValueError(str(exc)) from exc
        if name.kind == "llm" and name.name:
            raise ValueError("llm stands alone: openai_model and openai_base_url say which")
        return f"{name.kind}:{_at_home(name.name)}" if name.name.startswith("~") else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.chunk_overlap >= self.chunk_tokens:
            raise ValueError(
                f"chunk_overlap ({self.chunk_overlap}) must be smaller than chunk_tokens "
                f"({self.chunk_tokens})"
            )
        if self.generator == "openai" and self.openai_model is None:
            raise ValueError(
                "generator openai needs openai_model (and openai_base_url unless it is OpenAI's "
                f"own); set it in {CONFIG_FILE} or as {ENV_PREFIX}OPENAI_MODEL"
            )
        return self

    @classmethod
    def load(
        cls, *, config: str | Path | None = None, overrides: Mapping[str, Any] | None = None
    ) -> Settings:
        """Defaults, overruled by the file, the environment, and `overrides`, in that order.

        Args:
            config: the TOML file; None: what RANKGATE_CONFIG names, else `rankgate.toml` in
                the working folder if it is there. Relative paths in it start at its folder.
            overrides: from the command line; a value of None counts as not given.

        Raises:
            ConfigError: a file that is not there or malformed, an unknown key, a bad value.
        """
        _refuse_unknown_variables(cls.model_fields)
        file = _config_file(config)
        layers: list[tuple[Origin, dict[str, Any]]] = [
            ("file", {} if file is None else _read(file, cls.model_fields)),
            ("environment", EnvSettingsSource(cls)()),
            ("command line", {k: v for k, v in (overrides or {}).items() if v is not None}),
        ]
        unknown = [key for key in layers[-1][1] if key not in cls.model_fields]
        if unknown:
            raise ConfigError(_unknown("setting", unknown[0], cls.model_fields))
        values: dict[str, Any] = {}
        origins: dict[str, Origin] = dict.fromkeys(cls.model_fields, "default")
        for origin, layer in layers:
            values.update(layer)
            origins.update(dict.fromkeys(layer, origin))
        try:
            settings = cls(**values)
        except ValidationError as exc:
            raise ConfigError(_complaint(exc, origins, file)) from exc
        settings._origins = origins
        settings._file = file
        return settings

    @property
    def origins(self) -> dict[str, Origin]:
        """Where each value came from; "command line" for what a program passed itself."""
        given: dict[str, Origin] = dict.fromkeys(type(self).model_fields, "default")
        given.update(dict.fromkeys(self.model_fields_set, "command line"))
        given.update(self._origins)
        return given

    @property
    def file(self) -> Path | None:
        """The TOML file that was read, if any."""
        return self._file

    def shown(self) -> dict[str, Any]:
        """Every value as plain data; secrets masked."""
        plain: dict[str, Any] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                value = "**********" if value.get_secret_value() else ""
            plain[name] = str(value) if isinstance(value, Path) else value
        return plain


def _config_file(config: str | Path | None) -> Path | None:
    named = config if config is not None else os.environ.get(_CONFIG_VARIABLE) or None
    if named is None:
        usual = Path(CONFIG_FILE)
        return usual if usual.is_file() else None
    file = Path(named)
    if not file.is_file():
        whence = "--config" if config is not None else _CONFIG_VARIABLE
        raise ConfigError(f"{whence} names {file}, which is not a file")
    return file


def _read(file: Path, known: Iterable[str]) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    # TOMLDecodeError and UnicodeDecodeError are ValueErrors; brackets may be nested without end.
    except (OSError, ValueError, RecursionError) as exc:
        raise ConfigError(f"{file} is not a readable TOML file: {exc}") from exc
    for key in values:
        if key not in known:
            raise ConfigError(f"{file}: {_unknown('key', key, known)}")
    for key in _PATHS:
        # A file that names its folder relatively means the same whoever reads it from wherever.
        if isinstance(values.get(key), str):
            values[key] = file.parent / _at_home(values[key])
    for key in ("scorer", "sufficiency"):
        if isinstance(values.get(key), str):
            values[key] = _beside(file.parent, values[key])
    return values


def _beside(folder: Path, model: str) -> str:
    """Scorer or reader with its path from the file's folder; what is a hub's name stays one."""
    kind, _, name = model.strip().partition(":")
    path = folder / _at_home(name.strip())
    local = kind in ("late-interaction", "onnx", "reader")
    hub = kind in ("cross-encoder", "nli") and os.path.exists(path)  # no error where it is too long
    return f"{kind}:{path}" if name.strip() and (local or hub) else model


def _at_home(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # no home, or nobody of that name: a path like any other
        return Path(name)


def _refuse_unknown_variables(known: Iterable[str]) -> None:
    names = {f"{ENV_PREFIX}{field}".upper() for field in known} | {
        _CONFIG_VARIABLE,
        TOKEN_CACHE_VARIABLE,  # of the LangChain and LlamaIndex components
    }
    for variable in os.environ:
        if variable.upper().startswith(ENV_PREFIX) and variable.upper() not in names:
            raise ConfigError(_unknown("environment variable", variable, names))


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    renamed = next((new for old, new in _RENAMED.items() if old in name.lower()), None)
    if renamed is not None:
        return f"{what} {name!r} is called {renamed} now"
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown {what} {name!r}{hint} `rankgate config show` lists every setting."


def _complaint(exc: ValidationError, origins: Mapping[str, Origin], file: Path | None) -> str:
    """Pydantic's complaints in the user's words; never the value of a secret."""
    lines = []
    for error in exc.errors(include_url=False, include_context=False):
        name = ".".join(str(part) for part in error["loc"])
        message = error["msg"].removeprefix("Value error, ")
        if not name:
            lines.append(message)
            continue
        origin = origins.get(name.split(".")[0], "default")
        where = f"{file}" if origin == "file" else origin
        got = "" if "key" in name else f", got {error['input']!r}"
        lines.append(f"{name} ({where}): {message}{got}")
    return "settings: " + "; ".join(lines)
