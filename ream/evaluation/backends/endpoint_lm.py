"""lm-eval's view of a model that a server answers for.

Requests have the form of lm-eval's ``local-completions`` and ``local-chat-completions`` (the tests compare them). What
differs: prompts are encoded as by the backend hf, every answer is recorded, a failed call is attempted again only where
that may help, and requests run in threads.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.api_models import JsonChatStr
from lm_eval.models.utils import handle_stop_sequences, has_bos_prefix, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from ream.evaluation.answers import AnswerRecorder, Generated
from ream.evaluation.backends.connection import Connection, choice_of, likely_tokens
from ream.evaluation.prepared import ANSWER_TOKENS

Request = tuple[tuple[str, str], list[int], list[int]]  # (context, continuation) as texts, then their token ids
Answer = tuple[float, bool]  # log-probability of the continuation, whether greedy decoding gives it
Work = TypeVar("Work")
Result = TypeVar("Result")
STOPS = 4  # texts that end an answer, at most, in OpenAI's chat interface


class EndpointLM(TemplateLM):  # type: ignore[misc]  # lm-eval has no types
    """A served model; how it answered, and which prompts lost their beginning, is in ``recorder``.

    With ``api: completions`` prompts are sent as token ids, and the chat template is applied here. With ``api: chat``
    messages are sent, the server applies its template, and prompts cannot be cut here.
    """

    backend = "causal"

    def __init__(
        self,
        connection: Connection,
        tokenizer: Any,
        max_length: int | None,
        seed: int,
        add_special_tokens: bool | None,
        chat: Mapping[str, Any],
    ) -> None:
        """Args:
        connection: to the server.
        tokenizer: of the model.
        max_length: the most tokens of a prompt and its answer; None for the connection's.
        seed: of sampling.
        add_special_tokens: whether text gets the tokens that the tokenizer can add; None leaves it to the tokenizer.
        chat: ``chat_template_args`` and ``think_end_token``.
        """
        super().__init__()
        self.connection, self.tokenizer, self.seed = connection, tokenizer, seed
        limits = [limit for limit in (max_length, connection.max_length) if limit is not None]
        self.max_length: int | None = min(limits, default=None)
        self.add_special_tokens = add_special_tokens
        self.chat_template_args = dict(chat.get("chat_template_args") or {})
        self.think_end_token: str | None = chat.get("think_end_token")
        self.recorder = AnswerRecorder()
        self.set_cache_hook(self.recorder)

    @property
    def _messages(self) -> bool:
        """Whether prompts are messages."""
        return self.connection.endpoint.api == "chat"

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text without context, as in the backend hf."""
        begin = self.tokenizer.bos_token_id
        return self.eot_token_id if begin is None else int(begin)

    @property
    def tokenizer_name(self) -> str:
        """Name of the tokenizer."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids of a text, by the rule of the backend hf: a text that begins with BOS gets no second one."""
        wanted = self.add_special_tokens if add_special_tokens is None else add_special_tokens
        if add_special_tokens is None and has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id)):
            wanted = False
        ids: list[int] = self.tokenizer.encode(string, **({} if wanted is None else {"add_special_tokens": wanted}))
        return ids

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> Any:
        """A chat as the prompt: rendered, or as messages for the server to render."""
        if self._messages:
            return JsonChatStr(json.dumps(chat_history, ensure_ascii=False))
        return self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            **self.chat_template_args,
        )

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The answers to prompts."""
        answers = self._all(self._generated, [request.args for request in requests], disable_tqdm)
        for request, (text, generated) in zip(requests, answers, strict=True):
            if generated is not None:
                self.recorder.queue([generated])
                self.recorder.add_partial("generate_until", request.args, text)
        return [text for text, _ in answers]

    def _generated(self, arguments: tuple[Any, dict[str, Any]]) -> tuple[str, Generated | None]:
        """The answer to one prompt, and how it was generated where the server says so."""
        prompt, given = arguments
        options = dict(normalize_gen_kwargs(given, ANSWER_TOKENS))
        options.pop("do_sample", None)
        limit, end = int(options.pop("max_gen_toks")), self.tokenizer.eos_token
        stops = [stop for stop in handle_stop_sequences(list(options.pop("until")), eos=end) if stop]
        asked = [end] * bool(end) if self.think_end_token else stops  # a task's stops may stand within the thinking
        payload = {
            "model": self.connection.endpoint.model,
            "max_tokens": limit,
            "temperature": options.pop("temperature", 0),
            "stop": asked[:STOPS] if self._messages else asked,
            "seed": self.seed,
            **options,
        }
        if self._messages:
            return self._chatted(prompt, payload, stops)
        ids = self._within(self.tok_encode(prompt), limit, (prompt,))
        choice, usage = self._asked("completions", {"prompt": ids, **payload})
        text = str(choice.get("text") or "")
        thought = bool(self.think_end_token) and str(self.think_end_token) in text
        return self._finished(text, stops), _how(choice, usage, thought)

    def _chatted(self, prompt: JsonChatStr, payload: dict[str, Any], stops: list[str]) -> tuple[str, Generated | None]:
        """The answer to messages; a server that parses the thinking itself keeps it apart from the content."""
        more = {"chat_template_kwargs": self.chat_template_args} if self.chat_template_args else {}
        choice, usage = self._asked("chat/completions", {"messages": json.loads(prompt.prompt), **payload, **more})
        message = choice.get("message") or {}
        text = str(message.get("content") or "")
        apart = bool(message.get("reasoning_content") or message.get("reasoning"))
        thought = apart or (bool(self.think_end_token) and str(self.think_end_token) in text)
        return self._finished(text, stops), _how(choice, usage, thought and bool(text))

    def _finished(self, text: str, stops: list[str]) -> str:
        """The text behind the thinking, up to the first stop."""
        cut: str = postprocess_generated_text(text, stops, self.think_end_token)
        return cut

    def _loglikelihood_tokens(self, requests: Sequence[Request], disable_tqdm: bool = False, **_: Any) -> list[Answer]:
        """The answers to questions for the log-probability of continuations."""
        return self._all(self._likely, requests, disable_tqdm)

    def likelihoods(self, pieces: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
        """The log-probability of tokens, each piece (context, continuation) as token ids."""
        requests = [(("", ""), list(context), list(continuation)) for context, continuation in pieces]
        return [likely for likely, _ in self._loglikelihood_tokens(requests)]

    def _likely(self, request: Request) -> Answer:
        """The answer to one question; one token is generated, and left out, because servers want at least one."""
        texts, context, continuation = request
        ids = self._within([*context, *continuation], 1, texts)
        endpoint, count = self.connection.endpoint, len(continuation)
        choice, _ = self._asked(
            "completions",
            {"model": endpoint.model, "prompt": ids, "temperature": 0, "max_tokens": 1, "logprobs": 1,
             "seed": self.seed, "echo": True},
        )  # fmt: skip
        values, best = likely_tokens(choice, ids, endpoint)
        asked = [float(value) for value in values[-count:] if value is not None]
        greedy = all(value == max(most.values()) for value, most in zip(asked, best[-count:], strict=True))
        return sum(asked), greedy

    def _within(self, ids: list[int], answer: int, texts: tuple[str, ...]) -> list[int]:
        """The end of a prompt that has room beside its answer; one that loses its beginning is recorded."""
        if self.max_length is None or len(ids) + answer <= self.max_length:
            return ids
        self.recorder.add_truncated([texts])
        return ids[answer - self.max_length :]

    def _asked(self, path: str, payload: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Any]]:
        """The server's choice, and what it counted."""
        answer = self.connection.client.post(path, payload)
        usage = answer.get("usage")
        return choice_of(answer, self.connection.endpoint), usage if isinstance(usage, dict) else {}

    def _all(self, ask: Callable[[Work], Result], work: Sequence[Work], disable_tqdm: bool) -> list[Result]:
        """What is answered to each piece of work, several at a time; the first failure ends all."""
        results: dict[int, Result] = {}
        stopped = self.connection.client.stopped
        stopped.clear()
        with (
            ThreadPoolExecutor(self.connection.endpoint.concurrency, "endpoint") as pool,
            tqdm(total=len(work), desc="endpoint", disable=disable_tqdm or not sys.stderr.isatty()) as bar,
        ):
            numbers = {pool.submit(ask, piece): number for number, piece in enumerate(work)}
            try:
                for future in as_completed(numbers):
                    results[numbers[future]] = future.result()
                    bar.update(1)
            except BaseException:
                stopped.set()  # no thread tries again
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [results[number] for number in range(len(work))]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log-probability of whole texts, in windows as lm-eval cuts them."""
        totals = []
        for request in requests:
            longest = (self.max_length or sys.maxsize) - 2  # one for the context, one that is generated
            windows = get_rolling_token_windows(
                self.tok_encode(request.args[0]), self.prefix_token_id, max_seq_len=longest, context_len=1
            )
            pieces = [(("", ""), *make_disjoint_window(window)) for window in windows]
            totals.append(sum(answer[0] for answer in self._loglikelihood_tokens(pieces, disable_tqdm)))
        return totals


def _how(choice: Mapping[str, Any], usage: Mapping[str, Any], thought: bool) -> Generated | None:
    """How an answer was generated; None where the server counts no tokens or gives no reason for its end."""
    tokens, reason = usage.get("completion_tokens"), choice.get("finish_reason")
    if not isinstance(tokens, int) or reason is None:
        return None
    return Generated(tokens, reason == "length", thought)
