from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from posecli.backends.sessions import falls_back, open_session
from posecli.errors import ConfigError
from posecli.runtime import share_cores

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx_files import heatmap_net

OPEN = """
import sys, pathlib, torch
from posecli.backends.sessions import falls_back, open_session
open_session(pathlib.Path(sys.argv[1]), torch.device("cpu"))
"""


def test_onnx_runtime_reports_to_nobody(tmp_path):
    heatmap_net(tmp_path / "a.onnx")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "CI", "GITHUB"))}
    home = tmp_path / "home"
    home.mkdir()
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    subprocess.run([sys.executable, "-c", OPEN, str(tmp_path / "a.onnx")], env=environment, check=True, timeout=120)

    assert list(home.rglob("*")) == []  # left alone, it writes an identifier of the machine and reports to send there


def test_threads_are_a_batchs_share_and_sleep_between_runs(tmp_path):
    heatmap_net(tmp_path / "a.onnx")
    options = open_session(tmp_path / "a.onnx", torch.device("cpu")).get_session_options()

    assert options.intra_op_num_threads == share_cores(torch.device("cpu")).cores
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_missing_onnx_runtime_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"a\.onnx: needs ONNX and ONNX Runtime: pip install 'posecli\[onnx\]'"):
        open_session(tmp_path / "a.onnx", torch.device("cpu"))


def test_it_is_told_where_onnx_runtime_has_no_such_device(tmp_path):
    heatmap_net(tmp_path / "a.onnx")
    gpu = torch.device("cuda")
    if "CUDAExecutionProvider" in pytest.importorskip("onnxruntime").get_available_providers():
        pytest.skip("this ONNX Runtime knows GPUs")

    assert falls_back(torch.device("cpu")) == ""
    assert "runs on the CPU: this ONNX Runtime knows no cuda" in falls_back(gpu)
    assert open_session(tmp_path / "a.onnx", gpu).get_providers() == ["CPUExecutionProvider"]
