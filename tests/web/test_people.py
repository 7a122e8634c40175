"""The list of users: what is wrong is said, and never a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.web.people import Users, matches, password_hash, token_hash

HASH = password_hash("pw")


def test_a_password_matches_its_own_hash_only() -> None:
    assert matches("pw", HASH)
    assert not matches("PW", HASH)
    assert password_hash("pw") != HASH, "salted"


@pytest.mark.parametrize(
    "stored",
    ["", "pw", "scrypt$1$1$1$AA==$AA==", HASH.replace("16384", "1073741824"), HASH.replace("$8$", "$x$")],
)
def test_what_is_no_hash_matches_nothing(stored: str) -> None:
    assert not matches("pw", stored)


def test_the_list_is_read_from_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = f"- {{name: ada, role: operator, password: '{HASH}'}}\n"
    text = ada + f"- {{name: robot, token: '{token_hash('t')}'}}\n"
    (tmp_path / "users.yaml").write_text(text)
    for value in (text, str(tmp_path / "users.yaml")):
        monkeypatch.setenv("OFFBEAT_WEB_USERS", value)
        users = Users.read()
        found = users.by_password("ada", "pw")
        assert found is not None
        assert found.role == "operator"
        assert users.by_token("t") == users.known["robot"]
        assert users.known["robot"].role == "viewer"
        assert users.by_password("robot", "") is None
        assert users.by_token("") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "no list"),
        ("- ada", "not a user"),
        ("- {name: ada}", "neither password nor token"),
        ("- {name: ada, password: hunter2}", "not a hash"),
        ("- {name: ada, role: root, password: hunter2}", "unknown role"),
        ("- {name: ada, token: hunter2}", "not a hash"),
        (f"- {{name: a, password: '{HASH}'}}\n- {{name: a, password: '{HASH}'}}", "twice"),
        ("/does/not/exist.yaml", "No such file"),
        ("[{", "not YAML"),
    ],
)
def test_what_is_wrong_is_said_without_the_password(
    text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFBEAT_WEB_USERS", text)
    with pytest.raises(ConfigError, match=said) as error:
        Users.read()
    assert "hunter2" not in str(error.value)


def test_nobody_named_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OFFBEAT_WEB_USERS", raising=False)
    with pytest.raises(ConfigError, match="OFFBEAT_WEB_USERS is not set"):
        Users.read()
