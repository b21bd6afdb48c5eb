"""Dockerfile and compose.yaml: read, checked, and their own commands run here without an engine."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from waiting import until

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def instructions(text):
    """(instruction, argument) of a Dockerfile, comments gone and continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, _, rest = line.partition(" ")
        found.append((word.upper(), rest.strip()))
    return found


def stages(text):
    """Instructions by stage."""
    found = []
    for word, rest in instructions(text):
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest))
    return found


def environment(stage):
    """What ENV sets."""
    found = {}
    for word, rest in stage:
        if word == "ENV":
            found.update(part.split("=", 1) for part in shlex.split(rest))
    return found


def one(stage, instruction):
    """The only argument of an instruction."""
    (found,) = [rest for word, rest in stage if word == instruction]
    return found


@pytest.fixture(scope="module")
def built():
    return stages((ROOT / "Dockerfile").read_text("utf-8"))


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))


def ignored(path):
    """Whether .dockerignore keeps a path from the builder; the last matching line decides."""
    hidden = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        keep, pattern = line.startswith("!"), line.removeprefix("!")
        expression = "".join(
            {"**/": "(?:.*/)?", "*": "[^/]*"}.get(part, re.escape(part))
            for part in re.split(r"(\*\*/|\*)", pattern)
        )
        if re.fullmatch(rf"{expression}(/.*)?", path):
            hidden = not keep
    return hidden


def test_what_is_copied_is_there_and_reaches_the_builder(built):
    copied = [
        source
        for word, rest in built[0]
        if word == "COPY"
        for source in rest.split()[:-1]
        if not source.startswith("--")
    ]
    assert {"rankgate", "rag_app", "eval/rankgate_eval", "constraints.txt"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert not ignored(source), source
    # All of the wheel's packages, and all of the files that it names.
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    named = [project["project"]["readme"], *project["project"]["license-files"]]
    assert set(packages) | set(named) <= set(copied)
    assert not any(source.startswith("integrations") for source in copied)
    for secret in (
        ".git",
        ".env",
        ".rankgate/keys.sqlite",
        ".venv/bin/python",
        "tests/conftest.py",
    ):
        assert ignored(secret), secret
    assert ignored("rag_app/__pycache__/store.cpython-311.pyc")


def test_the_weights_and_the_page_are_in_what_is_copied():
    """Binary and web files that no import would miss."""
    for folder in ("rankgate", "rag_app", "eval/rankgate_eval"):
        for file in (ROOT / folder).rglob("*"):
            path = file.relative_to(ROOT).as_posix()
            if file.is_file() and "__pycache__" not in path:
                assert not ignored(path), path


def test_the_image_is_small_and_not_root(built):
    build, image = built
    assert one(build, "FROM").partition(" ")[0].endswith("slim-bookworm")
    assert one(image, "FROM") == one(build, "FROM").partition(" ")[0]
    # Nothing is fetched after the first stage.
    assert not any("pip" in rest or "apt" in rest for word, rest in image if word == "RUN")
    installs = [rest for word, rest in build if word == "RUN" and "pip install" in rest]
    assert installs and all("-c constraints.txt" in rest for rest in installs)
    users = [rest for word, rest in image if word == "USER"]
    assert users and all(user.partition(":")[0] not in ("0", "root") for user in users)
    made = next(rest for word, rest in image if word == "RUN")
    uid = users[-1].partition(":")[0]
    assert f"--uid {uid} " in made and f"--owner={uid} " in made and "/data /chroma" in made
    assert environment(image)["HF_HUB_OFFLINE"] == "1"


def test_no_variable_is_unknown(built, compose):
    """A setting that is misspelt stops the program, so it would stop the container."""
    from rag_app.settings import ENV_PREFIX, Settings

    given = environment(built[1]) | compose["services"]["rankgate"]["environment"]
    ours = {k: v for k, v in given.items() if k.startswith(ENV_PREFIX)}
    values = {k.removeprefix(ENV_PREFIX).lower(): v for k, v in ours.items()}
    settings = Settings(**values)
    assert settings.chroma_url == "http://chroma:8000"
    assert (settings.host, settings.port) == ("0.0.0.0", 8000)
    assert str(settings.data_dir) == "/data"


def schema_errors(compose):
    """What the Compose specification's own schema finds wrong."""
    import check_jsonschema
    from jsonschema import Draft202012Validator

    folder = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"
    schema = json.loads((folder / "compose-spec.json").read_text("utf-8"))
    return [e.json_path for e in Draft202012Validator(schema).iter_errors(compose)]


def test_compose_keeps_to_the_specification(compose):
    assert schema_errors(compose) == []
    broken = json.loads(json.dumps(compose))
    broken["services"]["chroma"]["health"] = broken["services"]["chroma"].pop("healthcheck")
    broken["services"]["rankgate"]["read_only"] = [True]
    assert {"$.services.chroma", "$.services.rankgate.read_only"} <= set(schema_errors(broken))


def test_compose_lets_nobody_near_chroma(compose):
    chroma, rankgate = compose["services"]["chroma"], compose["services"]["rankgate"]
    assert "ports" not in chroma
    assert [compose["networks"][n] for n in chroma["networks"]] == [{"internal": True}]
    assert set(chroma["networks"]) <= set(rankgate["networks"])
    assert all(port.startswith("127.0.0.1:") for port in rankgate["ports"])
    for service in (chroma, rankgate):
        assert service["cap_drop"] == ["ALL"] and service["read_only"] is True
        assert service["security_opt"] == ["no-new-privileges:true"]
        for volume in service["volumes"]:
            assert volume.partition(":")[0] in compose["volumes"], "a named volume: it survives"
    mounts = {v.partition(":")[2] for s in (chroma, rankgate) for v in s["volumes"]}
    assert mounts == {"/data", "/chroma"}
    assert rankgate["depends_on"]["chroma"]["condition"] == "service_healthy"
    grace = int(rankgate["stop_grace_period"].removesuffix("s"))
    from rag_app.settings import Settings

    assert grace > Settings().request_timeout_s + 1


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def translated(command, **changes):
    """A container's command with this environment's program, folders and ports."""
    program, *rest = [changes.get(word, word) for word in command]
    return [str(BIN / program), *rest]


def wait_until(healthy, processes, seconds=120):
    def well():
        for process in processes:
            if process.poll() is not None:
                raise AssertionError(f"{process.args} ended: {process.stderr.read()[-2000:]}")
        return healthy()

    until(well, within=seconds)


@pytest.mark.slow
@pytest.mark.model
def test_the_commands_run(tmp_path, built, compose):
    """Chroma, then the server, each until its own health check passes; a key; a question."""
    image = built[1]
    services = compose["services"]
    chroma_port, port = free_port(), free_port()
    data = tmp_path / "data"
    data.mkdir()
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RANKGATE_")}
    env = {
        **clean,
        **environment(image),
        **services["rankgate"]["environment"],
        # What a container has instead: its own file system, network and names.
        "PATH": f"{BIN}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "RANKGATE_DATA_DIR": str(data),
        "RANKGATE_PORT": str(port),
        "RANKGATE_CHROMA_URL": services["rankgate"]["environment"]["RANKGATE_CHROMA_URL"].replace(
            "chroma:8000", f"127.0.0.1:{chroma_port}"
        ),
        "OMP_NUM_THREADS": "1",
    }
    entrypoint, command = json.loads(one(image, "ENTRYPOINT")), json.loads(one(image, "CMD"))
    health = one(image, "HEALTHCHECK").partition("CMD ")[2]
    server_health = translated(json.loads(health))
    chroma_health = [
        word.replace("127.0.0.1:8000", f"127.0.0.1:{chroma_port}")
        for word in translated(services["chroma"]["healthcheck"]["test"][1:])
    ]
    chroma_command = translated(
        [*services["chroma"]["entrypoint"], *services["chroma"]["command"]],
        **{"/chroma": str(tmp_path / "chroma"), "0.0.0.0": "127.0.0.1", "8000": str(chroma_port)},
    )

    def passes(check):
        done = subprocess.run(check, env=env, capture_output=True, check=False, timeout=30)
        return done.returncode == 0

    def run(*words):
        return subprocess.run(
            [*translated(entrypoint), *words],
            env=env,
            cwd=data,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    def start(command):
        return subprocess.Popen(
            command,
            env=env,
            cwd=data,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    assert not passes(chroma_health) and not passes(server_health), "a check that cannot fail"
    processes = [start(chroma_command)]
    try:
        wait_until(lambda: passes(chroma_health), processes)
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "tea.md").write_text(
            "# Tea\n\nGreen tea is brewed at seventy degrees for two minutes.\n"
        )
        refused = run(*command)
        assert refused.returncode == 2 and "rankgate keys create" in refused.stderr
        key = run(
            "keys", "create", "--name", "me", "--role", "evaluator", "--all-collections"
        ).stdout.strip()
        ingested = run("ingest", str(tmp_path / "docs"))
        assert ingested.returncode == 0, ingested.stderr
        processes.append(start([*translated(entrypoint), *command]))
        wait_until(lambda: passes(server_health), processes)
        answer = httpx.post(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            headers={"Authorization": f"Bearer {key}"},
            json={
                "model": "rankgate",
                "messages": [{"role": "user", "content": "How hot is green tea brewed?"}],
            },
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        assert "seventy degrees" in answer.json()["choices"][0]["message"]["content"]
        assert not (data / "chroma").exists(), "the vectors are on the server"
        processes[1].terminate()
        assert processes[1].wait(70) == 0, "SIGTERM is how a container is stopped"
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait(20)
            process.stderr.close()
