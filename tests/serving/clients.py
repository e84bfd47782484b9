"""The clients' environment, made by `make test-serving`, and how checkpoints are run in it.

Clients have their own environment in .venv-serving, because vLLM pins other versions than ream needs. Each runs as a
process that loads several checkpoints, since importing it costs more than loading a tiny model.
"""

import json
import os
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
SERVING = HERE.parents[1] / ".venv-serving"
PYTHON = SERVING / "bin" / "python"
LLAMA_CPP = SERVING / "llama-cpp-python" / "vendor" / "llama.cpp"
LIBRARIES = LLAMA_CPP / "build" / "bin"
CONVERTER, QUANTISER = LLAMA_CPP / "convert_hf_to_gguf.py", LIBRARIES / "llama-quantize"
LLM_COMPRESSOR = SERVING / "llm-compressor"
MADE = {name: SERVING / f"{name}.made" for name in ("vllm", "llama.cpp", "llm-compressor")}
FLOAT32 = {"vllm": "float32", "llama_cpp": "f32"}
SECONDS = 900  # for one process


def missing(*clients: str) -> str:
    """One line that names the clients that the environment lacks; empty: none."""
    lacking = [client for client in clients if not MADE[client].exists()]
    return f"{' and '.join(lacking)} could not be installed here; `make test-serving` tries again" if lacking else ""


def environment() -> dict[str, str]:
    """Variables of a client's process: no network, one thread, and the libraries of llama.cpp as they were built."""
    own = {
        "HF_HUB_OFFLINE": "1",
        "GGML_NO_BACKTRACE": "1",
        "OMP_NUM_THREADS": "1",
        "LLAMA_CPP_LIB_PATH": str(LIBRARIES),
    }
    own |= {"VLLM_NO_USAGE_STATS": "1", "PATH": f"{PYTHON.parent}:{LIBRARIES}:{os.environ['PATH']}"}
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | own


def _end(text):
    """The last line of an error output that says what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Python's own error says less where llama.cpp refuses a file or aborts.
    by_llama_cpp = [line for line in lines if "error loading model" in line or "GGML_ASSERT" in line]
    errors = [line for line in lines if "Error" in line]
    return (by_llama_cpp or errors or lines or ["no message"])[-1]


def called(*command: str | Path) -> str:
    """Run a client's command; empty, or the line of its output that says why it failed."""
    arguments = [str(part) for part in command]
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, timeout=SECONDS)
    return _end(done.stdout + "\n" + done.stderr) if done.returncode else ""


def run(client: str, folders: list[Path], work: Path, prompts, new_tokens: int, dtype: str = "") -> list[dict]:
    """What a client computes from each checkpoint.

    Args:
        client: ``vllm`` or ``llama_cpp``.
        folders: the checkpoints; for llama.cpp, GGUF files are taken, too.
        work: a folder for the job and its results.
        prompts: token ids.
        new_tokens: number of tokens generated after each prompt.
        dtype: that the client computes in, by its own name.

    Returns:
        For each checkpoint ``log_probabilities`` and ``greedy`` as `checkpoints.reference` has them, or ``error``.
    """
    work.mkdir(parents=True, exist_ok=True)
    job, results = work / "job.json", work / "results.json"
    todo, found = [str(folder) for folder in folders], {}
    while todo:
        results.unlink(missing_ok=True)
        given = {"folders": todo, "prompts": prompts, "new_tokens": new_tokens, "dtype": dtype or FLOAT32[client]}
        job.write_text(json.dumps(given | {"converter": str(CONVERTER)}))
        error = called(PYTHON, HERE / f"run_{client}.py", job, results)
        done = json.loads(results.read_text()) if results.exists() else {}
        found |= done
        todo = todo[len(done) :]
        if error and todo:
            found[todo.pop(0)] = {"error": error}
    return [found[str(folder)] for folder in folders]
