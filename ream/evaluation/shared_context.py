"""lm-eval's transformers backend, which runs the context of a question once for all its choices."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from ream.evaluation.answers import AnswerRecorder
from ream.evaluation.generation import generated_rows
from ream.evaluation.lm_eval_types import Encodings
from ream.evaluation.shared_rows import ContextRow, batches_of
from ream.models.family.limits import Limits

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Model families whose attention is plain and causal in every layer. The tests compare each with lm-eval's own path.
PLAIN_ATTENTION = frozenset({"deepseek_v3", "ernie4_5_moe", "glm4_moe", "mixtral", "olmoe", "qwen3_moe"})
MASKABLE = frozenset({"eager", "sdpa"})
ENCODINGS = 20_000  # texts whose tokens are kept

Request = tuple[tuple[str, str], list[int], list[int]]  # (context, continuation) as texts, then their token ids
Answer = tuple[float, bool]  # log-probability of the continuation, whether greedy decoding gives it


class SharedContextLM(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """HFLM that scores all continuations of a context in one row of the batch.

    lm-eval runs context + continuation for each choice. In this class a row is the context followed by all
    continuations. A continuation sees the context and itself only (by a 4D attention mask, and positions that start
    again after the context), and logits are computed only where continuations are predicted. The numbers are the same
    up to rounding; a four-choice item takes about a third of the time. Log-probabilities are computed in float32
    whatever the model's dtype.

    How answers were generated, and which prompts lost their beginning, is recorded in ``recorder``.

    Other model families, other attention kernels and rows longer than ``max_length`` take HFLM's own path.

    Args:
        model: the model; it is put into eval mode.
        tokenizer: tokenizer of the model.
        batch_size: number of requests run at once; a context with four choices counts as four.
        max_length: maximum tokens of context and continuation together; None for the model's own maximum.
        add_special_tokens: whether text gets the tokens that the tokenizer can add, such as BOS; None leaves it to the
            tokenizer. Text that begins with BOS, as a rendered chat may, gets no second one.
        encodings: texts that this tokenizer has encoded before, shared by models that answer the same questions.
        chat: HFLM's options ``chat_template_args`` and ``think_end_token``.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        batch_size: int,
        max_length: int | None,
        add_special_tokens: bool | None = None,
        encodings: Encodings | None = None,
        chat: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=batch_size,
            max_length=max_length,
            softmax_dtype="float32",
            add_bos_token=add_special_tokens,
            **(chat or {}),
        )
        self.recorder = AnswerRecorder()
        self.set_cache_hook(self.recorder)
        self._encodings: Encodings = {} if encodings is None else encodings
        config = self.model.config
        self._limits = Limits(len(self.model.get_input_embeddings().weight))
        self._shares = (
            config.model_type in PLAIN_ATTENTION
            and config._attn_implementation in MASKABLE
            and getattr(config, "sliding_window", None) is None
        )

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **options: Any) -> list[int]:
        """As in HFLM, but a context is encoded once for all its choices and for all models that share the encodings."""
        key = (string, add_special_tokens, *sorted(options.items()))
        if key not in self._encodings:
            if len(self._encodings) >= ENCODINGS:
                self._encodings.clear()
            self._encodings[key] = super().tok_encode(string, add_special_tokens, **options)
            self._limits.check_encoded(self._encodings[key], self.tokenizer.name_or_path)
        return list(self._encodings[key])

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As in HFLM, but ids without an embedding are refused; padding, which is masked, becomes id 0 if it is one."""
        ids, mask = super().tok_batch_encode(strings, padding_side, None, truncation)
        if left_truncate_len:
            lengths = mask.sum(dim=1).tolist()
            self.recorder.add_truncated(
                (text,) for text, length in zip(strings, lengths, strict=True) if length > left_truncate_len
            )
            ids, mask = ids[:, -left_truncate_len:], mask[:, -left_truncate_len:]
        ids = ids.masked_fill((mask == 0) & (ids >= self._limits.vocabulary), 0)
        self._limits.check_encoded([int(ids.max())], self.tokenizer.name_or_path)
        return ids, mask

    def _model_generate(self, context: torch.Tensor, max_length: int, stop: list[str], **options: Any) -> torch.Tensor:
        """As in HFLM, and records how each row was generated.

        Of a model that thinks first, a task's stops count only in what follows: there lm-eval cuts at them itself.
        """
        if self.think_end_token:
            stop = [self.tok_decode(self.eot_token_id, skip_special_tokens=False)]
        tokens: torch.Tensor = super()._model_generate(context, max_length, stop, **options)
        prompt = context.shape[1]
        rows = tokens[:, prompt:].tolist()
        limit, think_end = max_length - prompt, self.think_end_token
        self.recorder.queue(generated_rows(rows, self._end_tokens(), stop, limit, self.tok_decode, think_end))
        return tokens

    def _end_tokens(self) -> set[int]:
        """The tokens that end a generated text."""
        ends = self.model.generation_config.eos_token_id
        return {self.eot_token_id, *(ends if isinstance(ends, list) else [] if ends is None else [ends])}

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Answer]:
        """As in HFLM, but the progress bar shows on a terminal only."""
        answers: list[Answer] = super().loglikelihood(requests, disable_tqdm or not sys.stderr.isatty())
        return answers

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """As in HFLM, but the progress bar shows on a terminal only."""
        texts: list[str] = super().generate_until(requests, disable_tqdm or not sys.stderr.isatty())
        return texts

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[Answer]:
        """The answers to the requests, in their order."""
        self._record_truncated(requests)
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, (_, context, _) in enumerate(requests):
            groups.setdefault(tuple(context), []).append(index)
        shared, single = [], list[int]()
        for members in groups.values():
            row = ContextRow(requests[members[0]][1], [requests[index][2] for index in members], members)
            if self._shares and len(row.tokens) <= self.max_length:
                shared.append(row)
            else:
                single += members
        answers: dict[int, Answer] = {}
        if single:
            rest = [requests[index] for index in sorted(single)]
            plain = super()._loglikelihood_tokens(rest, disable_tqdm=disable_tqdm, override_bs=override_bs)
            answers |= zip(sorted(single), plain, strict=True)
        shared.sort(key=lambda row: (-len(row.tokens), row.members))
        for batch in batches_of(shared, override_bs or self.batch_size):
            for row, row_answers in zip(batch, self._score(batch), strict=True):
                answers |= zip(row.members, row_answers, strict=True)
        return [answers[index] for index in range(len(requests))]

    def _record_truncated(self, requests: Sequence[Request]) -> None:
        """Record the requests whose context loses its beginning; the last token of a request is not an input."""
        self.recorder.add_truncated(
            texts for texts, context, rest in requests if len(context) + len(rest) > self.max_length + 1
        )

    @torch.no_grad()
    def _score(self, rows: Sequence[ContextRow]) -> Iterator[list[Answer]]:
        """For each row the answers to its continuations; the rows are one batch."""
        length = max(len(row.tokens) for row in rows)
        tokens = torch.zeros(len(rows), length, dtype=torch.long)
        positions = torch.zeros(len(rows), length, dtype=torch.long)
        # Padding sees itself, else its softmax would be over nothing.
        seen = torch.eye(length, dtype=torch.bool).repeat(len(rows), 1, 1)
        for index, row in enumerate(rows):  # padded on the left, so that the wanted logits are the last
            start = length - len(row.tokens)
            tokens[index, start:] = torch.tensor(row.tokens)
            positions[index, start:] = torch.tensor(row.positions)
            seen[index, start:, start:] = row.mask()
        dtype = self.model.dtype
        mask = torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)
        logits = self.model(
            input_ids=tokens.to(self.device),
            attention_mask=mask[:, None].to(self.device),
            position_ids=positions.to(self.device),
            use_cache=False,
            logits_to_keep=max(len(row.tokens) - len(row.context) + 1 for row in rows),
        ).logits
        for row, scored in zip(rows, logits, strict=True):
            log_probabilities = F.log_softmax(scored[len(row.context) - len(row.tokens) - 1 :].float(), dim=-1)
            yield [self._answer(log_probabilities, *part) for part in row.parts()]

    def _answer(self, log_probabilities: torch.Tensor, positions: list[int], continuation: list[int]) -> Answer:
        """The answer to one continuation.

        Args:
            log_probabilities: [L, vocabulary] float32, from the context's last token on.
            positions: rows of ``log_probabilities`` that predict the continuation's tokens.
            continuation: token ids.
        """
        rows = log_probabilities[positions]
        target = torch.tensor(continuation, device=rows.device)
        total = rows.gather(1, target[:, None]).double().sum().item()
        return total, bool((rows.argmax(dim=1) == target).all())
