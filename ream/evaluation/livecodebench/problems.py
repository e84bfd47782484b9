"""The problems of a LiveCodeBench release, read from the files of the hub or of a folder."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ream.errors import UserError
from ream.evaluation.livecodebench.cases import Case, cases_of
from ream.evaluation.livecodebench.sandbox import check_machine
from ream.machine.documents import parse_json

if TYPE_CHECKING:
    from datasets import Dataset

KEPT = ("question_id", "question_title", "question_content", "starter_code", "platform", "difficulty", "contest_date")


def load(
    dataset: str, revision: str, release: str, contests: Mapping[str, str], problems: Mapping[str, int], **_: Any
) -> "dict[str, Dataset]":
    """A release as the data set {"test": rows} that lm-eval expects, without test cases, which stay in the files.

    The files are fetched as files, because ``datasets`` 5 refuses a data set with a loader of its own. lm-eval keeps
    all rows in memory, where the test cases would take 4.5 GB; they are read row by row when a program is tested
    (`cases_at`).

    The arguments are the task's dataset_kwargs.

    Args:
        dataset: hub id or folder.
        revision: commit on the hub.
        release: name of the release, for messages.
        contests: first and last day of the contests.
        problems: number of problems of each file.

    Raises:
        UserError: the files hold other problems than the release, or programs cannot be executed on this machine.
        OSError: the files cannot be fetched.
    """
    from datasets import Dataset

    check_machine()
    first, last = date.fromisoformat(contests["first"]), date.fromisoformat(contests["last"])
    rows: list[dict[str, Any]] = []
    for name, count in problems.items():
        file_rows = list(_rows(_local(dataset, name, revision), name))
        if len(file_rows) != count:
            raise UserError(
                f"{name} of {dataset} has {len(file_rows)} problems, but in {release} it has {count}; fetch it again"
            )
        for row in file_rows:
            day = datetime.fromisoformat(row["contest_date"]).date()
            if not first <= day <= last:
                raise UserError(
                    f"problem '{row['question_id']}' is dated {day}, but the contests of {release} are from {first} to "
                    f"{last}; fetch {name} again"
                )
        rows.extend(file_rows)
    return {"test": Dataset.from_list(rows)}


def cases_at(doc: Mapping[str, Any]) -> list[Case]:
    """The test cases of a problem, read from its file.

    Args:
        doc: row of `load`, with ``file``, ``offset`` and ``question_id``.

    Raises:
        UserError: see `cases_of`; or the file has changed since it was loaded.
    """
    with open(doc["file"], "rb") as file:
        file.seek(doc["offset"])
        line = file.readline()
    row = parse_json(line, doc["file"]) if line.startswith(b"{") else {}
    if row.get("question_id") != doc["question_id"]:
        raise UserError(f"{doc['file']} has changed while its problems were solved; evaluate again")
    return cases_of(row)


def _local(dataset: str, name: str, revision: str) -> Path:
    """A file of the data set on this machine, fetched from the hub unless ``dataset`` is a folder."""
    if Path(dataset).is_dir():
        return Path(dataset) / name
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(dataset, name, repo_type="dataset", revision=revision))


def _rows(path: Path, name: str) -> Iterator[dict[str, Any]]:
    """The rows of a file, each with the byte offset at which it is found again."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                where = f"{name}: the row at byte {offset}"
                row = parse_json(line, where)
                try:
                    metadata = parse_json(row["metadata"], f"{where}: its metadata")
                    yield {field: row[field] for field in KEPT} | {
                        "function": metadata.get("func_name") or "", "file": str(path), "offset": offset,
                    }  # fmt: skip
                except (KeyError, TypeError, AttributeError) as error:
                    raise UserError(f"{where} is not a problem of LiveCodeBench ({error}); fetch it again") from None
            offset += len(line)
