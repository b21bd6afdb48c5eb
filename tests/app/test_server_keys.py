"""API keys: hashed, compared, revoked; and on the command line."""

import json

from typer.testing import CliRunner

from rag_app.server.keys import KeyStore, Role
from rankgate.cli import build_app

RUNNER = CliRunner()


def test_keys_are_kept_as_hashes(tmp_path):
    keys = KeyStore(tmp_path)
    record, secret = keys.create(name="Ada", role=Role.EVALUATOR, collections=["abc", "bcd", "abc"])
    assert secret.startswith(f"rk-{record.id}-") and record.collections == ("abc", "bcd")
    assert secret.split("-", 2)[2].encode() not in keys.path.read_bytes()
    assert keys.path.stat().st_mode & 0o077 == 0
    assert keys.authenticate(secret) == record
    for wrong in (
        secret[:-1],
        secret + "x",
        "",
        "rk-",
        f"rk-{record.id}-",
        secret.upper(),
        "rk-0-0",
        "\ud800",
    ):
        assert keys.authenticate(wrong) is None
    keys.revoke(record.id)
    assert keys.authenticate(secret) is None and not keys.any()


def run(*args):
    return RUNNER.invoke(build_app(), list(args))


def test_keys_on_the_command_line(tmp_path):
    at = ("--data-dir", str(tmp_path))
    assert "No key" in run("keys", "list", *at).stdout
    done = run(
        "keys", "create", "--name", "Ada", "--collections", "aa1, bb2", "--role", "evaluator", *at
    )
    secret = done.stdout.strip()
    assert (
        done.exit_code == 0 and secret.startswith("rk-") and "cannot be shown again" in done.stderr
    )
    record = KeyStore(tmp_path).authenticate(secret)
    assert (record.name, record.role, record.collections) == ("Ada", Role.EVALUATOR, ("aa1", "bb2"))
    listed = json.loads(run("keys", "list", "--json", *at).stdout)
    assert [row["id"] for row in listed] == [record.id]
    assert secret not in json.dumps(listed)
    assert run("keys", "create", "--name", "x", "--role", "admin", *at).exit_code == 2
    assert run("keys", "create", "--name", " ", *at).exit_code == 2
    assert run("keys", "create", "--name", "x", "--collections", " , ", *at).exit_code == 2
    assert run("keys", "revoke", "ffffffff", *at).exit_code == 2
    done = run("keys", "revoke", record.id, *at)
    assert done.exit_code == 0 and "last one" in done.stderr
    assert KeyStore(tmp_path).authenticate(secret) is None
