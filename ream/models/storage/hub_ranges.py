"""The header of a shard on the hub, by HTTP range requests, so that nothing else of the shard is fetched."""

from functools import lru_cache

from ream.models.storage.shard_header import read_header
from ream.models.storage.shard_source import Header

# Bytes of a shard in the first request for its header; most headers are shorter.
HEADER_BYTES = 100_000
DIGITS = 20  # of the largest number of 64 bits


@lru_cache(maxsize=4096)
def is_on_hub(name: str, commit: str, shard: str) -> bool:
    """Whether a commit has a shard; asked once, like its header."""
    from huggingface_hub.errors import EntryNotFoundError

    try:
        remote_header(name, commit, shard)
    except EntryNotFoundError:
        return False
    return True


@lru_cache(maxsize=4096)  # a commit's files never change, and every stage of a run opens the model
def remote_header(name: str, commit: str, shard: str) -> Header:
    """The header of a shard by range requests, with the hash by which the hub's cache names the file."""
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(name, shard, revision=commit)
    start, size, etag = _range(url, 0, HEADER_BYTES)

    def read(begin: int, end: int) -> bytes:
        return start[begin:end] if end <= len(start) else _range(url, begin, end)[0]

    return Header(read_header(f"{name}@{commit[:12]}/{shard}", size, read), size, etag)


def _range(url: str, begin: int, end: int) -> tuple[bytes, int, str]:
    """The bytes of a file from ``begin`` to ``end`` or the file's end, the size of the whole file, and its etag."""
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

    headers = {**build_hf_headers(), "Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity"}
    with http_stream_backoff("GET", url, headers=headers, timeout=60) as response:
        hf_raise_for_status(response)
        data = bytearray()
        skip = 0 if response.status_code == 206 else begin  # a server may answer with the whole file
        for block in response.iter_bytes(1 << 16):
            data += block
            if len(data) >= skip + end - begin:
                break
        extent = str(response.headers.get("Content-Range") or response.headers.get("Content-Length"))
        answers = [*response.history, response]
        linked = [answer.headers["X-Linked-Etag"] for answer in answers if "X-Linked-Etag" in answer.headers]
        etag = (linked or [response.headers.get("ETag", "")])[0]
    size = extent.rpartition("/")[2]
    if not (size.isdecimal() and len(size) <= DIGITS):
        raise OSError("the answer does not give the file's size")
    return bytes(data[skip : skip + end - begin]), int(size), etag.removeprefix("W/").strip('"')
