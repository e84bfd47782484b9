"""lm-eval's vLLM backend, which says of each answer how it was generated."""

from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.vllm_causallms import VLLM

from ream.evaluation.answers import AnswerRecorder, Generated


class RecordingVLLM(VLLM):  # type: ignore[misc]  # lm-eval has no types
    """VLLM that records how answers were generated, and which prompts lost their beginning, in ``recorder``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.chat_template_args = dict(options.get("chat_template_args") or {})  # lm-eval drops enable_thinking
        self.recorder = AnswerRecorder()
        self.set_cache_hook(self.recorder)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A chat as text, with the variables that were given and no others.

        lm-eval's VLLM always gives enable_thinking, None where nobody set it, which GLM-4.5's template takes for false.
        """
        rendered: str = self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            chat_template=self.hf_chat_template,
            **self.chat_template_args,
        )
        return rendered

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """As in VLLM."""
        prompts = [request.args[0] for request in requests]
        for request, ids in zip(requests, self.tok_encode(prompts), strict=True):
            limit = self.modify_gen_kwargs(dict(request.args[1]), eos="", default_max_gen_toks=self.max_gen_toks)[2]
            if len(ids) + limit > self.max_length:
                self.recorder.add_truncated([(request.args[0],)])
        texts: list[str] = super().generate_until(requests, disable_tqdm)
        return texts

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As in VLLM, but not refused where the chat template is told to let generated answers begin with thinking."""
        answers: list[tuple[float, bool]] = super(VLLM, self).loglikelihood(requests, disable_tqdm=disable_tqdm)
        return answers

    def _model_generate(self, requests: list[list[int]], generate: bool = False, **options: Any) -> Any:
        """As in VLLM; vLLM's finish_reason is "length" where the limit ended an answer."""
        outputs = super()._model_generate(requests, generate, **options)
        if generate:
            answers, end = [output.outputs[0] for output in outputs], self.think_end_token
            self.recorder.queue(
                Generated(len(answer.token_ids), answer.finish_reason == "length", bool(end) and end in answer.text)
                for answer in answers
            )
        return outputs

    def _loglikelihood_tokens(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As in VLLM."""
        self.recorder.add_truncated(
            texts for texts, context, rest in requests if len(context) + len(rest) > self.max_length - 1
        )
        answers: list[tuple[float, bool]] = super()._loglikelihood_tokens(requests, disable_tqdm)
        return answers
