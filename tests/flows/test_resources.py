"""How many stages may hold the model at once, and on which GPU."""

import pytest

from flows import resources
from flows.resources import Devices, gpus, models_at_once, stage_memory


def test_stages_are_spread_over_gpus():
    devices = Devices(["0", "1"])
    assert [devices.take() for _ in range(3)] == ["0", "1", "0"]
    devices.give_back("0")
    devices.give_back("0")
    devices.give_back(None)
    assert [devices.take(), devices.take()] == ["0", "0"]
    assert Devices([]).take() is None


@pytest.mark.parametrize(("visible", "names"), [("", []), ("-1", []), ("2", ["2"]), ("0, 3", ["0", "3"])])
def test_visible_gpus(monkeypatch, visible, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus() == names


def test_nvidia_smi_lists_the_gpus_if_cuda_visible_devices_is_not_set(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus() == []
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n[ \"$1\" = --query-gpu=index ] && printf '0\\n1\\n'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert gpus() == ["0", "1"]
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    assert gpus() == []


def test_models_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "gpus", lambda: ["0", "1", "2"])
    assert models_at_once(tmp_path) == 3
    monkeypatch.setattr(resources, "gpus", list)
    monkeypatch.setattr(resources, "stage_memory", lambda root: 3e9)
    monkeypatch.setattr(resources, "available_memory", lambda: int(10e9))
    assert models_at_once(tmp_path) == 2  # 80% of 10 GB hold two of 3 GB
    monkeypatch.setattr(resources, "available_memory", lambda: int(1e9))
    assert models_at_once(tmp_path) == 1


def test_a_stage_holds_the_model_in_float32_and_the_libraries(checkpoint, tmp_path):
    from ream.models.inspection.manifest import manifest_of

    assert stage_memory(tmp_path) == resources.LIBRARIES_BYTES
    manifest = manifest_of(str(checkpoint))
    manifest.save(tmp_path / "artifacts" / "model" / "manifest.json")
    assert stage_memory(tmp_path) == resources.LIBRARIES_BYTES + 4 * manifest.parameters
    assert resources.available_memory() > 1e8
