"""The REST interface's reference as a page of its own: no script, and nothing from elsewhere."""

import html
import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["reference_page"]


def reference_page(openapi: Mapping[str, Any]) -> str:
    """The OpenAPI description as HTML."""
    info = openapi["info"]
    operations = "".join(
        _operation(method.upper(), path, operation, openapi)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    )
    title = f"{info['title']} {info['version']}"
    return (
        _PAGE.replace("<!-- title -->", html.escape(title))
        .replace("<!-- description -->", html.escape(info["description"]))
        .replace("<!-- operations -->", operations)
    )


def _operation(method: str, path: str, operation: Mapping[str, Any], root: Any) -> str:
    parts = [f"<p>{html.escape(operation.get('description', ''))}</p>"]
    for parameter in operation.get("parameters", []):
        parts.append(
            f"<p>Parameter <code>{html.escape(parameter['name'])}</code>:"
            f" {html.escape(_constraint(parameter['schema']))}</p>"
        )
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<h3>Request <small>{html.escape(kind)}</small></h3>")
        parts.append(_fields(content["schema"], root))
    for status, response in operation["responses"].items():
        if not status.startswith("2"):
            continue
        for kind, content in response.get("content", {}).items():
            parts.append(f"<h3>{html.escape(status)} <small>{html.escape(kind)}</small></h3>")
            parts.append(_fields(content.get("schema", {}), root))
    refused = ", ".join(status for status in operation["responses"] if not status.startswith("2"))
    parts.append(f"<p class=quiet>Errors {refused}: <code>code</code>, <code>error</code>,")
    parts.append("<code>request_id</code>.</p>")
    heading = f"<h2><b>{method}</b> {html.escape(path)}</h2>"
    return f"<section>{heading}{''.join(parts)}</section>"


def _fields(schema: Mapping[str, Any], root: Any) -> str:
    """The object's keys in a list, those of objects within it in lists below."""
    rows = "".join(f"<li>{row}</li>" for row in _rows(schema, root))
    return f"<ul>{rows}</ul>" if rows else ""


def _rows(schema: Mapping[str, Any], root: Any) -> Iterator[str]:
    schema = _resolved(schema, root)
    if schema.get("type") == "array":
        yield f"a list of{_fields(schema['items'], root) or ' ' + _constraint(schema['items'])}"
        return
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        inner = _resolved(field, root)
        nested = inner if inner.get("properties") else _resolved(inner.get("items", {}), root)
        told = _constraint(inner, "" if name in required else ", optional")
        below = _fields(nested, root) if nested.get("properties") else ""
        yield f"<code>{html.escape(name)}</code> {html.escape(told)}{below}"


def _constraint(schema: Mapping[str, Any], more: str = "") -> str:
    kinds = [each.get("type", "") for each in schema.get("anyOf", [schema])]
    told = " or ".join(dict.fromkeys(kind for kind in kinds if kind)) or "object"
    for each in schema.get("anyOf", [schema]):
        if "minimum" in each or "maximum" in each:
            told += "".join(
                f" {word} {each[bound]:g}"
                for word, bound in (("from", "minimum"), ("to", "maximum"))
                if bound in each
            )
            break
    if "default" in schema:
        told += f", {json.dumps(schema['default'])} by default"
    return told + more + (f": {schema['description']}" if "description" in schema else "")


def _resolved(schema: Mapping[str, Any], root: Any) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    for part in reference.removeprefix("#/").split("/"):
        root = root[part]
    found: Mapping[str, Any] = root
    return found


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title><!-- title --></title>
<style>
:root { color-scheme: light dark; --ink: #23211d; --paper: #faf8f4; --line: #d8d2c6; --go: #275d52;
  --quiet: #6b655a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e9e5dc; --paper: #191a1c; --line: #3a3b3e; --go: #8fc7b8; --quiet: #a29c90; } }
body { margin: 0 auto; padding: 2rem 1.2rem 4rem; max-width: 46rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.55 system-ui, sans-serif; }
h1, h2 { font-family: Charter, "Iowan Old Style", Georgia, serif; font-weight: 500; }
section { border-top: 1px solid var(--line); padding: .6rem 0 1rem; }
h2 { font-size: 1.2rem; overflow-wrap: anywhere; } h2 b { color: var(--go); font-weight: 600; }
h3 { font-size: .95rem; margin: 1rem 0 .2rem; }
small, .quiet { color: var(--quiet); font-weight: 400; }
ul { margin: .2rem 0; padding-left: 1.2rem; } a { color: var(--go); }
code { font: .9em ui-monospace, Menlo, Consolas, monospace; }
</style>
<h1><!-- title --></h1>
<p><!-- description --></p>
<p>The same as a machine reads it: <a href="/openapi.json">openapi.json</a>. Where the server has a
token, send it as <code>Authorization: Bearer TOKEN</code>. MCP tools are served at
<code>/mcp</code>.</p>
<!-- operations -->
</html>
"""
