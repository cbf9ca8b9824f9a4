"""REST, MCP, uploads and the guard, against real servers on this machine."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import citespan
from load import borne
from serving import Server, copied, serving

TOKEN = "correct-horse-battery"
ZIL = b"The harbour of Zil was opened by Bo Anders in 1911."


@pytest.fixture(scope="module")
def server(sample_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = copied(sample_index, tmp_path_factory.mktemp("served") / "index")
    with serving(folder) as running:
        yield running


@pytest.fixture(scope="module")
def locked(sample_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = copied(sample_index, tmp_path_factory.mktemp("locked") / "index")
    with serving(folder, CITESPAN_TOKEN=TOKEN) as running:
        yield running


def test_ask_is_the_object_that_the_command_prints(server: Server) -> None:
    question = "How many defectors went public?"
    told = server.ask(question)
    printed = json.loads(citespan("ask", question, "--index", server.folder, "--json").stdout)
    for result in (told, printed):
        del result["seconds"]
    assert told == printed
    assert told["answers"][0]["text"] == "58"


def test_min_confidence_and_answers_are_heeded(server: Server) -> None:
    told = server.ask("How many defectors went public?", answers=1, min_confidence=1.0)
    assert (told["answered"], len(told["answers"]), told["threshold"]) == (False, 1, 1.0)


def test_documents_are_as_list_and_show_print_them(server: Server) -> None:
    listed = server.request("/api/documents")[2]
    printed = json.loads(citespan("list", "--index", server.folder, "--json").stdout)
    assert listed == printed
    shown = server.request(f"/api/documents/{listed[0]['id']}")[2]
    named = citespan("show", listed[0]["id"], "--index", server.folder, "--json").stdout
    assert shown == json.loads(named)


def test_an_upload_is_asked_and_removed_again(server: Server) -> None:
    status, _, added = server.upload(("zil.txt", ZIL), ("picture.png", b"\x89PNG\r\n\x1a\n"))
    assert status == 201
    assert [failure["name"] for failure in added["failed"]] == ["picture.png"]
    assert "PNG image" in added["failed"][0]["reason"]
    (document,) = added["documents"]
    place = Path(document["source"])
    assert place.parent == server.folder / "uploads"
    assert place.read_bytes() == ZIL
    told = server.ask("Who opened the harbour of Zil?")
    assert told["answers"][0]["text"] == "Bo Anders"
    assert told["index"]["generation"] == added["generation"]

    status, _, removed = server.request(f"/api/documents/{document['id']}", method="DELETE")
    assert (status, removed["source"]) == (200, document["source"])
    assert not place.exists()
    assert server.request(f"/api/documents/{document['id']}")[0] == 404
    assert server.ask("Who opened the harbour of Zil?")["index"]["generation"] > added["generation"]


def test_the_same_name_twice_keeps_both_and_the_same_file_once(server: Server) -> None:
    server.upload(("twice.txt", b"The first one says that Ann came."))
    second = server.upload(("twice.txt", b"The second one says that Ben came."))[2]
    again = server.upload(("twice.txt", b"The first one says that Ann came."))[2]
    sources = [document["source"] for document in second["documents"] + again["documents"]]
    assert [Path(source).name for source in sources] == ["twice-2.txt", "twice.txt"]
    for document in second["documents"] + again["documents"]:
        server.request(f"/api/documents/{document['id']}", method="DELETE")


def test_a_file_that_no_loader_reads_is_named_with_the_reason(server: Server) -> None:
    status, _, problem = server.upload(("broken.pdf", b"%PDF-1.7 nothing of the kind"))
    assert (status, problem["code"]) == (409, "unreadable")
    assert "broken.pdf" in problem["error"]
    assert not list((server.folder / "uploads").glob("*broken*"))


@pytest.mark.parametrize(
    "name", ["../../../escaped.txt", "..\\..\\escaped.txt", "/etc/escaped.txt", ".citespanignore"]
)
def test_no_name_leads_out_of_the_folder(server: Server, name: str) -> None:
    added = server.upload((name, b"Nothing leads out of here, says Vera Holt."))[2]
    place = Path(added["documents"][0]["source"])
    assert place.parent == server.folder / "uploads"
    assert not place.name.startswith(".")
    server.request(f"/api/documents/{added['documents'][0]['id']}", method="DELETE")


def test_removing_a_file_of_the_users_leaves_it_where_it_is(server: Server, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("Only Greta Lund was there.")
    assert citespan("index", mine, "--index", server.folder).returncode == 0
    # The command runs beside the server, which sees what it did.
    for _ in range(50):
        listed = server.request("/api/documents")[2]
        found = [document["id"] for document in listed if document["source"] == str(mine)]
        if found:
            break
        threading.Event().wait(0.1)
    assert server.request(f"/api/documents/{found[0]}", method="DELETE")[0] == 200
    assert mine.exists()
    assert (
        "taken out"
        in citespan("index", "--index", server.folder).stderr
        + citespan("index", "--index", server.folder, "--json").stdout
        or str(mine) not in citespan("list", "--index", server.folder, "--json").stdout
    )


def test_a_row_is_not_taken_out_alone(server: Server) -> None:
    added = server.upload(("people.csv", b"name,town\nAnn,Zil\nBen,Ost\n"))[2]
    status, _, problem = server.request(
        f"/api/documents/{added['documents'][0]['id']}", method="DELETE"
    )
    assert (status, problem["code"]) == (400, "bad_request")
    assert "whole" in problem["error"]


def test_many_uploads_at_once_are_indexed_together(server: Server) -> None:
    before = server.request("/api/health")[2]["generation"]
    replies: list[Any] = []

    def bring(n: int) -> None:
        replies.append(server.upload((f"crowd{n}.txt", f"Member {n} is called Tom{n}.".encode())))

    threads = [threading.Thread(target=bring, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status for status, _, _ in replies] == [201] * 8
    assert server.request("/api/health")[2]["generation"] - before < 8


@pytest.mark.parametrize(
    ("seconds", "throughput", "p95"),
    # Within seconds, whatever else the machine does weighs as much as what is measured.
    [(6.0, 0.6, 3.0), pytest.param(60.0, 0.9, 1.5, marks=pytest.mark.long)],
    ids=["short", "a minute"],
)
def test_fifty_clients_at_once_share_it_fairly(
    server: Server, seconds: float, throughput: float, p95: float
) -> None:
    figures = borne(server.url, 50, seconds)
    assert figures["errors"] == 0
    assert figures["throughput"] >= throughput
    assert figures["p95"] <= p95


def test_a_slow_upload_blocks_nobody(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(
            b"POST /api/documents HTTP/1.1\r\nHost: "
            + f"{host}:{port}".encode()
            + b"\r\nContent-Type: multipart/form-data; boundary=x"
            + b"\r\nContent-Length: 1000000\r\n\r\n"
            + b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nslow'
        )
        assert server.ask("How many defectors went public?")["answers"][0]["text"] == "58"
        assert server.upload(("quick.txt", b"Quick is what Ida Quist was."))[0] == 201
    # And when it breaks, nothing of it is kept.
    assert server.request("/api/health")[0] == 200
    assert not list((server.folder / "uploads").glob("a*.txt"))
    assert not list((server.folder / "uploads").glob(".incoming-*"))


def test_a_request_that_is_too_large_is_refused(server: Server) -> None:
    status, headers, problem = server.request(
        "/api/ask", method="POST", body={"question": "x" * (9 << 20)}
    )
    assert (status, problem["code"]) == (413, "too_large")
    assert headers["x-request-id"] == problem["request_id"]


def test_every_answer_carries_the_headers_that_seal_it(server: Server) -> None:
    for path in ("/", "/api/health", "/docs", "/nowhere", "/assets/none.js"):
        _, headers, _ = server.request(path, headers={"accept": "text/html"})
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
        assert headers["x-content-type-options"] == "nosniff"
        assert len(headers["x-request-id"]) == 16


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:7860", "10.0.0.1", ""],
)
def test_a_foreign_host_reads_nothing(server: Server, host: str) -> None:
    for path in ("/", "/api/documents", "/mcp", "/assets/x.js", "/gradio_api/queue/data"):
        status, _, problem = server.request(path, headers={"host": host, "accept": "text/html"})
        assert (status, problem["code"]) == (421, "foreign_host"), path


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "file://", "http://["]
)
def test_another_sites_page_does_nothing(server: Server, origin: str) -> None:
    status, _, problem = server.upload(("planted.txt", ZIL), headers={"origin": origin})
    assert (status, problem["code"]) == (403, "foreign_origin")
    assert not list((server.folder / "uploads").glob("planted*"))


def test_the_page_itself_may_ask(server: Server) -> None:
    assert server.upload(("own.txt", b"Own is own."), headers={"origin": server.url})[0] == 201


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/upload", "/gradio_api/file=/etc/passwd", "/gradio_api/proxy=http://a.b/",
        "/gradio_api/runs", "/gradio_api/run-history/records", "/monitoring",
        "/gradio_api/vibe-code",
        "/gradio_api/file/etc/passwd", "/login", "/gradio_api/run/predict", "/gradio_api/stream/x",
        "/gradio_api/process_recording", "/gradio_api/deep_link", "/gradio_api/token", "/redoc",
    ],
)  # fmt: skip
def test_what_gradio_brings_besides_the_page_is_closed(server: Server, path: str) -> None:
    for method in ("GET", "POST"):
        assert server.request(path, method=method)[0] == 404


def test_a_token_is_asked_for_everywhere(locked: Server) -> None:
    for path in ("/api/health", "/api/documents", "/openapi.json", "/docs", "/mcp", "/page.css",
                 "/assets/x.js", "/config", "/gradio_api/queue/data", "/nowhere"):  # fmt: skip
        for headers in ({}, {"authorization": "Bearer wrong"}, {"cookie": "citespan-1=x; a=b"}):
            status, got, problem = locked.request(path, headers=headers)
            assert (status, problem["code"]) == (401, "no_token"), path
            assert got["www-authenticate"].startswith("Bearer")
            assert TOKEN not in json.dumps(problem)


def test_the_token_opens_as_bearer_and_as_cookie(locked: Server) -> None:
    assert locked.request("/api/health", headers={"authorization": f"Bearer {TOKEN}"})[0] == 200
    form = {"content-type": "application/x-www-form-urlencoded"}
    status, headers, page = locked.request(
        "/login", method="POST", headers=form, body=b"token=wrong"
    )
    assert status == 401
    assert b"not the token" in page
    assert "set-cookie" not in headers


def test_a_login_from_another_site_is_refused(locked: Server) -> None:
    headers = {
        "content-type": "application/x-www-form-urlencoded", "origin": "http://evil.example",
    }  # fmt: skip
    body = f"token={TOKEN}".encode()
    assert locked.request("/login", method="POST", headers=headers, body=body)[0] == 403


def test_off_loopback_it_asks_for_a_token_or_a_plain_word(tmp_path: Path) -> None:
    for arguments, word in (
        (["--host", "0.0.0.0"], "--token"),
        (["--host", "0.0.0.0", "--token", ""], "blank"),
        (["--host", "0.0.0.0", "--token", "a", "--no-auth"], "just one"),
    ):
        done = citespan("chat", *arguments, "--index", tmp_path)
        assert done.returncode == 1
        assert word in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_said(server: Server, tmp_path: Path) -> None:
    done = citespan("chat", "--port", server.url.rsplit(":")[-1], "--index", tmp_path)
    assert done.returncode == 1
    assert "--port" in done.stderr


def test_an_empty_library_takes_its_first_document(tmp_path: Path) -> None:
    with serving(tmp_path / "new") as empty:
        assert empty.request("/api/documents")[2] == []
        status, _, problem = empty.request("/api/ask", method="POST", body={"question": "Who?"})
        assert (status, problem["code"]) == (409, "no_documents")
        assert empty.upload(("zil.txt", ZIL))[0] == 201
        assert empty.ask("Who opened the harbour of Zil?")["answers"][0]["text"] == "Bo Anders"


def test_mcp_lists_and_asks(server: Server) -> None:
    from mcp import Client

    async def talk() -> tuple[Any, ...]:
        async with Client(f"{server.url}/mcp") as client:
            tools = await client.list_tools()
            asked = await client.call_tool("ask", {"question": "How many defectors went public?"})
            listed = await client.call_tool("list_documents", {})
            blank = await client.call_tool("ask", {"question": "  "})
            return tools, asked, listed, blank

    tools, asked, listed, blank = asyncio.run(talk())
    assert sorted(tool.name for tool in tools.tools) == ["ask", "list_documents"]
    told = server.ask("How many defectors went public?")
    del told["seconds"], asked.structured_content["seconds"]
    assert asked.structured_content == told
    assert listed.structured_content["result"] == server.request("/api/documents")[2]
    assert blank.is_error
    assert "blank" in blank.content[0].text


def test_the_openapi_is_true(server: Server, tmp_path: Path) -> None:
    # In a process of its own: it is a program, with its own idea of warnings.
    done = subprocess.run(
        [
            Path(sys.executable).parent / "schemathesis", "run", f"{server.url}/openapi.json",
            "--max-examples", "15", "--seed", "7", "--request-timeout", "60",
            "--phases", "examples,coverage,fuzzing", "--no-color",
        ],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
