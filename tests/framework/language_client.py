"""An editor without a screen: it talks to a language server over its standard streams (Language Server Protocol 3)."""

import json
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

ABILITIES = {
    "textDocument": {
        "completion": {"completionItem": {"documentationFormat": ["markdown"]}},
        "hover": {"contentFormat": ["markdown"]},
        "publishDiagnostics": {},
    },
    "workspace": {"configuration": True},
}
YAML_SETTINGS = {"schemaStore": {"enable": False}, "completion": True, "hover": True, "validate": True}


class LanguageClient(AbstractContextManager):
    """A running server and the YAML files that were opened; ``|`` in a text is where the cursor stands."""

    def __init__(self, command, folder: Path):
        self._folder = folder
        self._asked = self._opened = 0
        self._server = subprocess.Popen(
            [command, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._ask("initialize", {"processId": None, "rootUri": folder.as_uri(), "capabilities": ABILITIES})
        self._tell("initialized", {})

    def __exit__(self, *error):
        self._server.terminate()
        self._server.wait()
        self._server.stdin.close()
        self._server.stdout.close()

    def completions(self, text, schema):
        """Return label -> text that is inserted, for everything offered at the cursor."""
        found = self._ask("textDocument/completion", self._open(text, schema))
        return {item["label"]: item.get("insertText", "") for item in found["items"]}

    def hover(self, text, schema):
        """Return what is shown while the mouse rests on the cursor."""
        return self._ask("textDocument/hover", self._open(text, schema))["contents"]["value"]

    def problems(self, text, schema):
        """Return line and words of each problem that is marked."""
        uri = self._open(text, schema)["textDocument"]["uri"]
        published = self._wait(
            lambda message: (
                message.get("method") == "textDocument/publishDiagnostics" and message["params"]["uri"] == uri
            )
        )
        return sorted((each["range"]["start"]["line"], each["message"]) for each in published["params"]["diagnostics"])

    def _open(self, text, schema):
        before, _, after = text.partition("|")
        above = f"# yaml-language-server: $schema={schema}\n"
        self._opened += 1
        place = {"uri": (self._folder / f"{self._opened}.yaml").as_uri()}
        whole = {**place, "languageId": "yaml", "version": 1, "text": above + before + after}
        self._tell("textDocument/didOpen", {"textDocument": whole})
        lines = (above + before).split("\n")
        return {"textDocument": place, "position": {"line": len(lines) - 1, "character": len(lines[-1])}}

    def _tell(self, method, params):
        self._send({"method": method, "params": params})

    def _ask(self, method, params):
        self._asked += 1
        number = self._asked
        self._send({"id": number, "method": method, "params": params})
        return self._wait(lambda message: "method" not in message and message["id"] == number)["result"]

    def _wait(self, wanted):
        while True:
            message = self._read()
            if "method" in message and "id" in message:
                self._send({"id": message["id"], "result": self._answer(message)})
            if wanted(message):
                return message

    def _answer(self, message):
        if message["method"] != "workspace/configuration":
            return None
        return [YAML_SETTINGS if item.get("section") == "yaml" else {} for item in message["params"]["items"]]

    def _send(self, message):
        content = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._server.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(content), content))
        self._server.stdin.flush()

    def _read(self):
        length = 0
        while header := self._server.stdout.readline().strip():
            name, _, value = header.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        if not length:
            raise EOFError("The language server ended.")
        return json.loads(self._server.stdout.read(length))
