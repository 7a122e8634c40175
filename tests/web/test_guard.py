"""Nobody unknown comes in, nobody answers for another, and no other site makes a browser answer."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from pipeline.web import Keeper, application
from pipeline.web.login import GUESSES, Sessions, local
from pipeline.web.people import User, Users, password_hash
from tests.web.conftest import EVIL, HASH, PASSWORD, TOKEN, USERS, csrf, logged_in

PATHS = (
    "/", "/anomalies", "/anomalies/x", "/streams/plant", "/streams/cards/transactions", "/static/page.js",
    "/static/plotly.min.js", "/api/v1/streams", "/api/v1/openapi.json", "/api/v1/anomalies/x/answers",
    "/docs", "/openapi.json", "/nothing", "//evil.example/", "/login/", "/health/x", "/answerx",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_stranger_sees_health_and_the_login_and_nothing_else(stranger: TestClient, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
        answer = stranger.request(method, path)
        assert answer.status_code in (303, 401), (method, path)
        if answer.status_code == 303:
            assert answer.headers["location"].startswith("/login?next=")
            assert answer.text == ""


def test_what_is_open_says_nothing(stranger: TestClient) -> None:
    assert stranger.get("/health").json() == {"status": "healthy"}
    assert stranger.get("/login").status_code == stranger.get("/static/page.css").status_code == 200
    assert "plant" not in stranger.get("/login").text


def test_every_route_is_known_to_the_crawl_of_strangers(stranger: TestClient) -> None:
    """Routes are found from the app, so that a new one cannot be open unseen."""
    app = stranger.app
    paths = {getattr(route, "path", "") for route in app.routes} | set(app.openapi()["paths"])
    for path in paths - {"/health", "/login", "/static/{name}", "/answer/{token}"}:
        concrete = path.replace("{name}", "plant").replace("{identifier}", "x")
        assert stranger.get(concrete).status_code in (303, 401), path


def test_a_password_and_its_cookie_let_in(stranger: TestClient) -> None:
    page = stranger.get("/login?next=/streams/plant")
    form = {"name": "ada", "password": PASSWORD, "next": "/streams/plant", "csrf": csrf(page.text)}
    answer = stranger.post("/login", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/streams/plant")
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("offbeat_session="))
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert stranger.get("/streams/plant").status_code == 200


def test_a_cookie_is_secure_over_tls(keeper: Keeper) -> None:
    browser = TestClient(application(keeper, users=USERS), base_url="https://testserver")
    assert "Secure" in browser.get("/login").headers["set-cookie"]
    assert "max-age" in browser.get("/login").headers["strict-transport-security"]


@pytest.mark.parametrize("name", ["ada", "nobody", "robot"])
def test_a_wrong_password_does_not(stranger: TestClient, name: str) -> None:
    form = {"name": name, "password": "guess", "csrf": csrf(stranger.get("/login").text)}
    assert stranger.post("/login", data=form).status_code == 401
    assert stranger.get("/").status_code == 303


def test_guesses_are_limited_and_the_right_password_waits_too(stranger: TestClient) -> None:
    for number in range(GUESSES + 1):
        form = {"name": "ada", "password": f"guess {number}", "csrf": csrf(stranger.get("/login").text)}
        answer = stranger.post("/login", data=form)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    form = {"name": "ada", "password": PASSWORD, "csrf": csrf(stranger.get("/login").text)}
    assert stranger.post("/login", data=form).status_code == 429


def test_long_bodies_are_refused_before_they_are_read(stranger: TestClient) -> None:
    assert stranger.post("/login", data={"password": "x" * 70_000}).status_code == 413
    assert stranger.post("/login", content=iter([b"name=", b"ada"])).status_code == 411


def test_a_login_form_of_another_site_is_refused(stranger: TestClient) -> None:
    stranger.get("/login")
    for token in ("", "forged", Sessions("another secret").token("x")):
        form = {"name": "ada", "password": PASSWORD, "csrf": token}
        assert stranger.post("/login", data=form).status_code == 403


ELSEWHERE = (
    "//evil.example", "https://evil.example/",
    "/\\evil.example", "\\\\evil", "javascript:alert(1)", "/\t/evil",
    "evil.example", "", "///evil.example", "/%0d\n/evil", "http:/evil",
)  # fmt: skip


@pytest.mark.parametrize("onward", ELSEWHERE)
def test_after_the_login_nobody_is_sent_elsewhere(stranger: TestClient, onward: str) -> None:
    assert local(onward) == "/"
    form = {"name": "ada", "password": PASSWORD, "next": onward, "csrf": csrf(stranger.get("/login").text)}
    assert stranger.post("/login", data=form).headers["location"] == "/"


def test_logging_out_ends_the_session_also_for_who_kept_the_cookie(operator: TestClient) -> None:
    kept = operator.cookies["offbeat_session"]
    assert operator.post("/logout").status_code == 403, "a form of another site"
    token = csrf(operator.get("/").text)
    assert operator.post("/logout", data={"csrf": token}).status_code == 303
    assert operator.get("/", cookies={"offbeat_session": kept}).status_code == 303


def test_a_new_password_ends_older_sessions(keeper: Keeper) -> None:
    sessions = Sessions("secret")
    cookie = sessions.begin(User("ada", "operator", HASH))
    assert sessions.person(cookie, USERS)
    assert not sessions.person(cookie, Users({"ada": User("ada", "operator", password_hash("new"))}))
    assert not sessions.person(cookie, Users({}))
    assert not Sessions("another").person(cookie, USERS)


def test_a_viewer_reads_and_does_not_answer(viewer: TestClient, fault: str) -> None:
    url = f"/api/v1/anomalies/{fault}/answers"
    before = viewer.get(url).json()
    page = viewer.get(f"/anomalies/{fault}").text
    assert '<form class="answers"' not in page
    token = csrf(page)
    form = {"what": "acknowledged", "csrf": token}
    assert viewer.post(f"/anomalies/{fault}/answers", data=form).status_code == 403
    assert viewer.post(url, json={"what": "resolved"}, headers={"x-csrf-token": token}).status_code == 403
    assert viewer.get(url).json() == before


def test_an_answer_needs_the_token_of_its_own_session(
    keeper: Keeper, operator: TestClient, fault: str
) -> None:
    other = logged_in(TestClient(application(keeper, users=USERS), follow_redirects=False), "bob")
    theirs = csrf(other.get("/").text)
    for token in ("", "x", theirs):
        form = {"what": "acknowledged", "csrf": token}
        assert operator.post(f"/anomalies/{fault}/answers", data=form).status_code == 403
        api = operator.post(
            f"/api/v1/anomalies/{fault}/answers",
            json={"what": "acknowledged"},
            headers={"x-csrf-token": token},
        )
        assert api.status_code == 403


def test_a_token_answers_without_a_session(stranger: TestClient, keeper: Keeper, fault: str) -> None:
    bearer = {"authorization": f"Bearer {TOKEN}"}
    answer = stranger.post(f"/api/v1/anomalies/{fault}/answers", json={"what": "confirmed"}, headers=bearer)
    assert answer.status_code == 200
    assert keeper.work.answers(fault)[-1]["who"] == "robot"
    back = stranger.post(f"/api/v1/anomalies/{fault}/answers", json={"what": "reopened"}, headers=bearer)
    assert back.status_code == 200
    wrong = {"authorization": "Bearer guess"}
    assert stranger.get("/api/v1/streams", headers=wrong).status_code == 401


def test_every_answer_tells_browsers_what_a_page_may_do(operator: TestClient) -> None:
    for path in ("/", "/nothing", "/api/v1/streams", "/static/page.js", "/login"):
        headers = operator.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert ("immutable" if "static" in path else "no-store") in headers["cache-control"]


def test_names_that_are_markup_are_text(operator: TestClient, keeper: Keeper) -> None:
    evil = next(a for a in keeper.work.anomalies("plant", limit=20) if a["entity"] == EVIL)
    query = {"entity": EVIL, "channels": "flow"}
    for path in (
        "/",
        "/anomalies",
        f"/anomalies/{evil['id']}",
        "/streams/plant",
        "/streams/cards/transactions",
    ):
        page = operator.get(path, params=query if path == "/streams/plant" else {}).text
        assert EVIL not in page
        assert "<b>more" not in page
    assert EVIL not in operator.get("/", params={"q": EVIL}).text
    assert EVIL not in operator.get("/login", params={"next": f"/{EVIL}"}).text
    assert EVIL not in operator.get("/streams/plant", params={"channels": EVIL}).text
