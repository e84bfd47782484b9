"""A small server with OpenAI's interface for a model of transformers, over real HTTP, which fails as it is told."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

NAME, KEY = "served-model", "the-key-of-the-tests"


class Served:
    """What the server has and does.

    Attributes:
        model, tokenizer: what answers.
        key: that it wants; None for none.
        echo: whether it gives log-probabilities of the prompt.
        length: the context that it says it has; None says nothing.
        faults: (status, headers, body) of the next refused POSTs, or a callable that is called instead of an answer.
        asked: (path, payload) of every POST.
    """

    def __init__(self, model, tokenizer, key=None, echo=True, length=None):
        self.model, self.tokenizer, self.key, self.echo, self.length = model, tokenizer, key, echo, length
        self.faults, self.asked, self.url = [], [], ""
        self.lock = threading.Lock()

    def listed(self):
        more = {} if self.length is None else {"max_model_len": self.length}
        return {"object": "list", "data": [{"id": NAME, "object": "model", **more}]}

    @torch.no_grad()
    def likely(self, ids):
        """Log-probabilities of each token after the first, and the texts of the likeliest with theirs."""
        table = self.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        values, best = [None], [None]
        for place, token in enumerate(ids[1:]):
            top = int(table[place].argmax())
            values.append(table[place, token].item())
            best.append({f"#{token}": values[-1], f"#{top}": table[place, top].item()})
        return values, best

    @torch.no_grad()
    def generated(self, ids, limit, stops):
        """Greedy tokens, the text without special ones up to a stop, and why it ended."""
        made, ends = [], {self.tokenizer.eos_token_id}
        while len(made) < limit:
            made.append(int(self.model(torch.tensor([[*ids, *made]])).logits[0, -1].argmax()))
            text = self.tokenizer.decode(made, skip_special_tokens=True)
            if made[-1] in ends:
                return made, text, "stop"
            if found := [text.index(stop) for stop in stops if stop in text]:
                return made, text[: min(found)], "stop"
        return made, self.tokenizer.decode(made, skip_special_tokens=True), "length"

    def completions(self, asked):
        ids = asked["prompt"]
        made, text, reason = self.generated(ids, asked["max_tokens"], asked.get("stop") or [])
        choice = {"index": 0, "text": text, "finish_reason": reason, "logprobs": None}
        if asked.get("echo") and self.echo:
            values, best = self.likely([*ids, *made])
            tokens = [self.tokenizer.decode([token]) for token in [*ids, *made]]
            choice["logprobs"] = {"token_logprobs": values, "top_logprobs": best, "tokens": tokens}
        usage = {"prompt_tokens": len(ids), "completion_tokens": len(made)}
        return {"object": "text_completion", "choices": [choice], "usage": usage}

    def chat(self, asked):
        rendered = self.tokenizer.apply_chat_template(
            asked["messages"], tokenize=False, add_generation_prompt=True, **asked.get("chat_template_kwargs", {})
        )
        ids = self.tokenizer.encode(rendered, add_special_tokens=False)
        made, text, reason = self.generated(ids, asked["max_tokens"], asked.get("stop") or [])
        message = {"role": "assistant", "content": text}
        return {
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": {"prompt_tokens": len(ids), "completion_tokens": len(made)},
        }


@contextmanager
def serving(served):
    """The base URL of a server that runs within the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def give(self, status, body, headers=None, kind="application/json"):
            content = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": len(content), **(headers or {})}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)

        def admitted(self):
            if served.key is None or self.headers.get("Authorization") == f"Bearer {served.key}":
                return True
            given = self.headers.get("Authorization", "")
            self.give(401, {"error": {"message": f"Invalid key {given}", "type": "auth"}})
            return False

        def do_GET(self):
            if not self.admitted():
                return
            if self.path == "/v1/models":
                self.give(200, served.listed())
            else:
                self.give(404, "<html>no such page</html>", kind="text/html")

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self.admitted():
                return None
            with served.lock:
                served.asked.append((self.path, asked))
                fault = served.faults.pop(0) if served.faults else None
                if callable(fault):
                    return fault(self)
                if fault is not None:
                    return self.give(*fault)
                answers = {"/v1/completions": served.completions, "/v1/chat/completions": served.chat}
                if self.path not in answers:
                    return self.give(404, {"detail": "Not Found"})
                if asked["model"] != NAME:
                    return self.give(404, {"error": {"message": f"The model `{asked['model']}` does not exist."}})
                return self.give(200, answers[self.path](asked))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
