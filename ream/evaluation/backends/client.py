"""Calls of a server with OpenAI's interface over HTTP, with attempts again; whatever goes wrong is one line."""

import os
import threading
from collections.abc import Callable
from typing import Any

import requests

from ream.errors import UserError, one_line
from ream.params.endpoint import Endpoint

KEY = "REAM_ENDPOINT_KEY"  # environment variable with the server's key, which is written nowhere
AGAIN = {408, 429, 500, 502, 503, 504, 529}  # statuses that another attempt may not meet
LONGEST_PAUSE = 60.0  # seconds between two attempts


class StatusError(UserError):
    """The server refused a call.

    Attributes:
        status: HTTP's.
    """

    def __init__(self, message: str, status: int) -> None:
        """Args:
        message: see `UserError`.
        status: HTTP's.
        """
        super().__init__(message)
        self.status = status


class Client:
    """Calls of one server; several threads may use it.

    Attributes:
        endpoint: the server and the model there.
        stopped: while it is set, no call is attempted again, so that all threads end soon after one has failed.
    """

    def __init__(self, endpoint: Endpoint, pause: Callable[[float], object] | None = None) -> None:
        """Args:
        endpoint: the server and the model there.
        pause: waits a number of seconds before another attempt; None waits so long or until the client is stopped.
        """
        self.endpoint, self.stopped = endpoint, threading.Event()
        self._key, self._pause = os.environ.get(KEY, ""), pause or self.stopped.wait
        self._own = threading.local()

    def get(self, path: str) -> Any:
        """What the server answers to GET, as plain values.

        Raises:
            UserError: see `post`.
        """
        return self._call("GET", path, None)

    def post(self, path: str, payload: dict[str, Any]) -> dict[str, Any]:
        """What the server answers to a payload.

        Args:
            path: below the base URL, as ``completions``.
            payload: a JSON object.

        Raises:
            UserError: nothing answers, in time and after all attempts; the server refuses (`StatusError`); or the
                answer is not a JSON object.
        """
        answer = self._call("POST", path, payload)
        if not isinstance(answer, dict):
            raise UserError(f"{self._at(path)} answers with no JSON object; is this a server with OpenAI's interface?")
        return answer

    def _call(self, method: str, path: str, payload: dict[str, Any] | None) -> Any:
        retries = self.endpoint.retries
        for attempt in range(retries + 1):
            try:
                response = self._session().request(
                    method, self._url(path), json=payload, timeout=self.endpoint.timeout, auth=_Bearer(self._key)
                )
            except requests.RequestException as error:
                if attempt == retries or self.stopped.is_set() or not _may_pass(error):
                    raise UserError(self._unanswered(path, error, attempt + 1)) from None
                self._pause(_backoff(attempt))
                continue
            if response.ok:
                return self._read(path, response)
            if response.status_code not in AGAIN or attempt == retries or self.stopped.is_set():
                raise StatusError(self._refused(path, response, attempt + 1), response.status_code)
            self._pause(_wanted(response.headers.get("Retry-After")) or _backoff(attempt))
        raise AssertionError

    def _session(self) -> requests.Session:
        """The connections of this thread."""
        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()
        session: requests.Session = self._own.session
        return session

    def _url(self, path: str) -> str:
        return f"{self.endpoint.base_url}/{path}"

    def _at(self, path: str) -> str:
        return f"evaluation.endpoint {self._url(path)}"

    def _read(self, path: str, response: requests.Response) -> Any:
        """The body as plain values."""
        try:
            return response.json()
        except ValueError:
            kind = response.headers.get("Content-Type", "no type")
            raise UserError(
                f"{self._at(path)} answers, but not with JSON ({kind}); correct base_url, which ends as in "
                "http://node7:8000/v1"
            ) from None

    def _unanswered(self, path: str, error: requests.RequestException, attempts: int) -> str:
        """A line about a call to which no answer came."""
        times = f" in {attempts} attempts" if attempts > 1 else ""
        if isinstance(error, requests.Timeout):
            return (
                f"{self._at(path)} gave no answer within {self.endpoint.timeout:g} s{times}; raise "
                "evaluation.endpoint.timeout, or lower evaluation.endpoint.concurrency"
            )
        reason = one_line(self._hidden(_cause(error)), 150)
        return f"{self._at(path)} cannot be reached{times} ({reason}); start the server, or correct base_url"

    def _refused(self, path: str, response: requests.Response, attempts: int) -> str:
        """A line about a call that the server refused."""
        status, times = response.status_code, f" in {attempts} attempts" if attempts > 1 else ""
        said = one_line(self._hidden(_message(response)), 200)
        line = f"{self._at(path)} answers {status}{times}{f' ({said})' if said else ''}"
        if status in (401, 403):
            wrong = f"refuses the key in {KEY}; correct it" if self._key else f"wants a key; put it into {KEY}"
            return f"{line}: it {wrong}"
        if status == 404:
            return f"{line}: correct base_url, which ends as in http://node7:8000/v1, or evaluation.endpoint.model"
        if status == 429:
            return f"{line}: too many requests; lower evaluation.endpoint.concurrency, or raise its retries"
        if status >= 500:
            return f"{line}: the server failed; look at its log"
        return f"{line}: it refuses the request"

    def _hidden(self, text: str) -> str:
        """A text without the key, which some servers repeat."""
        return text.replace(self._key, "***") if self._key else text


class _Bearer(requests.auth.AuthBase):
    """Sends the key, or nothing; requests would else look for a password in the user's .netrc."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def _may_pass(error: requests.RequestException) -> bool:
    """Whether another attempt may succeed: not where the URL is wrong, the host unknown or its certificate bad."""
    lasting = (requests.exceptions.SSLError, requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)
    unknown = "Name or service not known" in str(error) or "NameResolutionError" in str(error)
    return not isinstance(error, lasting) and not unknown


def _backoff(attempt: int) -> float:
    """Seconds before the next attempt: 1, 2, 4, … up to LONGEST_PAUSE."""
    return min(float(2**attempt), LONGEST_PAUSE)


def _wanted(header: str | None) -> float | None:
    """The seconds that a server's Retry-After asks for; None where it names none."""
    try:
        return min(max(float(header or ""), 0.0), LONGEST_PAUSE) or None
    except ValueError:
        return None


def _cause(error: BaseException) -> str:
    """The innermost reason: requests wraps what the system says in what urllib3 says."""
    reason = getattr(error.args[0], "reason", error.args[0]) if error.args else error
    return str(reason).rpartition("] ")[2]  # behind the object and the number of the system's error


def _message(response: requests.Response) -> str:
    """What the server says of a refusal: OpenAI's and vLLM's ``error.message``, else the beginning of its text."""
    try:
        body = response.json()
    except ValueError:
        return "" if "html" in response.headers.get("Content-Type", "") else response.text[:200]
    found = body.get("error", body) if isinstance(body, dict) else body
    message = found.get("message", found.get("detail", "")) if isinstance(found, dict) else found
    return str(message)
