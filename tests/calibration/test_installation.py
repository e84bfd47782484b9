"""Which files of the Python installation are text of the demo."""

import importlib.metadata
from email.message import Message

from ream.calibration import installation


class Distribution:
    """An installed package with a name and a description."""

    def __init__(self, name, description):
        self.metadata = Message()
        self.metadata["Name"] = name
        self.metadata.set_payload(description)


def test_descriptions_of_packages_but_not_of_ream_and_of_its_tests(monkeypatch):
    packages = {"numpy": "Arrays.", "ream": "Experts.", "compressed-tensors": "Words.", "loguru": "Logs.", "empty": " "}
    monkeypatch.setattr(
        importlib.metadata, "distributions", lambda: [Distribution(*package) for package in packages.items()]
    )
    monkeypatch.setattr(installation, "DOCUMENTED_PACKAGES", ())
    files = dict(installation.documentation_files.__wrapped__())  # of these packages alone
    assert {label: text for label, text in files.items() if label.startswith("description/")} == {
        "description/numpy": "Arrays."
    }
    assert "topics/assignment" in files
