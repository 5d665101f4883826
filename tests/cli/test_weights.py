"""`posecli weights` from end to end: public files over loopback into the cache, and from there into a network."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from posecli.cli import main
from posecli.networks import _listing, load_network
from posecli.networks._checkpoints import CHECKPOINTS
from posecli.networks._weights import find_weights, read_weights
from servers import Behaviour, serving
from small_checkpoint import FILE, MMPOSE, NAME, public_tensors, publish, small_network  # noqa: F401 - fixtures

pytestmark = pytest.mark.usefixtures("small_network")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    monkeypatch.setenv("POSECLI_HOME", str(folder))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return folder


def run(*arguments):
    return CliRunner().invoke(main, ["weights", *map(str, arguments)])


@pytest.fixture
def public_file(tmp_path):
    """A file as mmpose publishes it, and what its code answers to `images`."""
    images = torch.rand(1, 3, 64, 64)
    tensors, answers = public_tensors(images, **MMPOSE)
    torch.save({"meta": {"epoch": 210}, "state_dict": tensors}, tmp_path / "public.pth")
    return tmp_path / "public.pth", images, answers


def test_a_pulled_checkpoint_is_what_load_network_takes(home, public_file, publish):  # noqa: F811
    path, images, answers = public_file
    content = path.read_bytes()
    file = FILE.format(hashlib.sha256(content).hexdigest()[:8])
    with serving(Behaviour(content, cut_after=[2_000_000], redirects={f"/{file}": "/mirror"})) as server:
        publish(f"{server}/{file}")
        result = run("pull", NAME)

    saved = home / "weights" / f"{NAME}.safetensors"
    assert (result.exit_code, result.stdout) == (0, f"{saved}\n")
    assert "hrnet-w4, as mmpose names it" in result.stderr
    assert "batch counters" in result.stderr
    assert sorted(found.name for found in home.rglob("*") if found.is_file()) == [saved.name]
    network, spec = load_network(NAME)
    assert (network(images)[-1] - answers[-1]).abs().max() < 1e-4 * answers[-1].std()
    assert not spec.bgr
    metadata = read_weights(saved).metadata
    assert metadata["license"] == "MIT"
    assert metadata["source"].endswith(file)
    assert metadata["source_sha256"] == hashlib.sha256(content).hexdigest()
    assert all(tensor.dtype == torch.float32 for tensor in read_weights(saved).tensors.values())


def test_what_is_in_the_cache_is_not_fetched_again(public_file, publish):  # noqa: F811
    publish("http://127.0.0.1:9/w.pth")
    path = run("import", public_file[0], "--as", NAME).stdout

    result = run("pull", NAME)

    assert (result.exit_code, result.stdout) == (0, path)
    assert "in the cache already" in result.stderr


def test_what_is_damaged_in_the_cache_is_fetched_again(public_file, publish):  # noqa: F811
    with serving(Behaviour(public_file[0].read_bytes())) as server:
        publish(f"{server}/w.pth")
        saved = Path(run("pull", NAME).stdout.strip())
        saved.write_bytes(saved.read_bytes()[:-1])
        again = run("pull", NAME)

    assert again.exit_code == 0
    assert "in the cache already" not in again.stderr
    assert run("verify", NAME).exit_code == 0


def test_a_mirror_must_have_the_publishers_file(public_file, publish):  # noqa: F811
    publish("http://127.0.0.1:9/hrnet-00112233_20220909.pth")
    with serving(Behaviour(public_file[0].read_bytes())) as server:
        result = run("pull", NAME, "--url", f"{server}/copy.pth")

    assert result.exit_code == 5
    assert "expected 00112233; name a mirror with --url" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["pull", "hrnet-w33"], 2, "unknown checkpoint 'hrnet-w33'; did you mean hrnet-w3"),
        (
            ["pull", "prs-tiny"],
            5,
            "prs-tiny: nobody publishes weights for it that posecli knows of; it comes with posecli",
        ),
        (["pull", "simplebaseline-r101-384x288"], 5, "name one: simplebaseline-r101-384x288-official"),
        (["pull", "hrnet-w32-official"], 5, "then: posecli weights import FILE --as hrnet-w32-official"),
        (["pull", "hrnet-w32", "mspn-1", "--url", "https://host/w"], 2, "--url is one file's address, but 2 names"),
        (["pull", "hrnet-w32", "--url", "file:///etc/passwd"], 2, "wanted an http or https address"),
        (["pull"], 2, "Missing argument"),
        (["import", "absent.pth", "--as", "hrnet-w32"], 5, "absent.pth: no such weights file"),
        (["import", "absent.pth"], 2, "Missing option '--as'"),
        (["info", "hrnet-w33"], 2, "unknown network 'hrnet-w33'; did you mean hrnet-w3"),
        (["verify", "hrnet-w32"], 5, "get them with: posecli weights pull hrnet-w32"),
        (["verify", "absent.safetensors"], 5, "absent.safetensors: no such weights file"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_an_exit_code(arguments, exit_code, message):
    result = run(*arguments)

    assert result.exit_code == exit_code
    assert message in result.stderr
    assert result.stdout == ""


def test_a_missing_page_is_a_weights_error(publish):  # noqa: F811
    with serving(Behaviour(statuses=[404])) as server:
        publish(f"{server}/w.pth")
        result = run("pull", NAME)

    assert result.exit_code == 5
    assert "HTTP 404" in result.stderr


def test_a_file_of_another_network_is_refused_and_its_own_named(public_file, tmp_path):
    result = run("import", public_file[0], "--as", "hrnet-w32", "-o", tmp_path / "out.safetensors")

    assert result.exit_code == 5
    assert "is 32x256x3x3" not in result.stderr
    assert "but hrnet-w32 wants" in result.stderr
    assert result.stderr.endswith("it fits hrnet-w4\n")
    assert not (tmp_path / "out.safetensors").exists()


def test_a_file_of_no_network_says_what_is_wrong(tmp_path):
    torch.save({"net.weight": torch.ones(3)}, tmp_path / "w.pth")

    result = run("import", tmp_path / "w.pth", "--as", NAME)

    assert result.exit_code == 5
    assert "weights of another network than hrnet-w4: it lacks" in result.stderr
    assert "has net.weight, which hrnet-w4 does not know" in result.stderr


def test_numbers_that_are_none_are_not_imported(public_file, home):
    tensors = torch.load(public_file[0], weights_only=True)["state_dict"]
    tensors["head.final_layer.bias"][3] = torch.nan
    torch.save(tensors, public_file[0])

    result = run("import", public_file[0], "--as", NAME)

    assert result.exit_code == 5
    assert "numbers that are not finite" in result.stderr
    assert not home.exists()


def test_verify_finds_one_changed_number(public_file, tmp_path):
    saved = tmp_path / "w.safetensors"
    run("import", public_file[0], "--as", NAME, "-o", saved)
    whole = run("verify", saved)
    content = bytearray(saved.read_bytes())
    content[-3] ^= 1
    saved.write_bytes(content)
    changed = run("verify", saved, "--json")

    assert whole.exit_code == 0
    assert NAME in whole.stdout
    assert changed.exit_code == 5
    assert "its numbers have changed since it was imported" in changed.stderr
    assert json.loads(changed.stdout)["ok"] is False


def test_verify_without_names_checks_all_there_is(public_file):
    run("import", public_file[0], "--as", NAME)

    result = run("verify", "--json")

    verdicts = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert all(verdict["ok"] for verdict in verdicts)
    assert NAME in {verdict["network"] for verdict in verdicts}


def test_verify_knows_the_shipped_files_by_their_readme():
    shipped = find_weights("prs-tiny")

    result = run("verify", "prs-tiny", "--json")

    assert result.exit_code == 0
    digest = json.loads(result.stdout)["sha256"]
    assert f"`{shipped.name}` | `{digest[:12]}`" in shipped.with_name("README.md").read_text("utf-8")


def test_info_of_a_public_file_says_what_it_is(public_file):
    facts = json.loads(run("info", public_file[0], "--json").stdout)

    assert facts["format"] == "PyTorch pickle"
    assert facts["fits"] == [NAME]
    assert facts["sha256"] == hashlib.sha256(public_file[0].read_bytes()).hexdigest()
    assert facts["first"]["backbone.conv1.weight"] == "64x3x3x3"


def test_info_of_an_imported_file_shows_its_metadata(public_file, tmp_path):
    run("import", public_file[0], "--as", NAME, "-o", tmp_path / "w.safetensors")

    result = run("info", tmp_path / "w.safetensors")

    assert result.exit_code == 0
    assert "network hrnet-w4" in result.stdout
    assert "posecli.spec {" in result.stdout


def test_info_of_a_network_counts_parameters_and_gmacs():
    facts = json.loads(run("info", "simplebaseline-r50", "--json").stdout)

    assert (facts["params"], facts["gmacs"]) == (33_999_697, 5.426)
    assert facts["preprocessing"]["colour"] == "BGR"
    assert facts["checkpoints"] == ["simplebaseline-r50", "simplebaseline-r50-official"]


def test_info_for_people_groups_digits_and_shows_nothing_as_a_dash():
    lines = [line.split() for line in run("info", "prs-tiny").stdout.splitlines()]

    assert ["params", "1,823,716"] in lines
    assert ["ap", "-"] in lines


@pytest.fixture
def no_counting(monkeypatch):
    """Sizes are looked up; what is not in the table yet counts as nothing."""
    monkeypatch.setattr(_listing, "_counted", lambda spec: (0, 0.0))


@pytest.mark.usefixtures("no_counting")
def test_list_says_where_weights_are(public_file):
    run("import", public_file[0], "--as", NAME)
    entries = {entry["name"]: entry for entry in map(json.loads, run("list", "--json").stdout.splitlines())}

    assert {
        name: entries[name]["where"] for name in ("prs-tiny", NAME, "hrnet-w32", "hrnet-w32-official", "cpn-r50")
    } == {
        "prs-tiny": "shipped",
        NAME: "cached",
        "hrnet-w32": "pull",
        "hrnet-w32-official": "by hand",
        "cpn-r50": "train",
    }
    assert (entries["hrnet-w32"]["ap"], entries["hrnet-w32"]["license"]) == (0.746, "Apache-2.0")
    assert CHECKPOINTS.keys() <= entries.keys() | {NAME}


@pytest.mark.usefixtures("no_counting")
def test_list_for_people_names_every_network():
    lines = run("list").stdout.splitlines()

    dark = next(line.split() for line in lines if line.startswith("hrnet-w32-dark "))
    assert dark[1:4] == ["keypoints", "256x192", "28.54"]
    assert dark[-1] == "pull"
    assert any(line.startswith(f"{dark[7]}  COCO val2017, boxes of a detector with person AP 56.4") for line in lines)


def test_the_command_leaves_torch_unloaded_until_it_is_needed():
    program = "import sys, posecli.cli.weights; print('torch' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


def test_an_exported_network_is_a_refiner_for_infer(tmp_path, examples):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    file = tmp_path / "mine.onnx"
    result = run("export", "prs-tiny", "--onnx", "-o", file)

    assert (result.exit_code, result.stdout) == (0, f"{file}\n"), result.output
    assert "prs-tiny, 7." in result.stderr
    assert "of torch's" in result.stderr
    arguments = ["--refiner", f"onnx:{file}", "--max-frames", "2", "--no-overlay", "-o", str(tmp_path / "poses")]
    arguments += ["--min-box-score", "0", "--min-score", "0", "--no-filter", "--max-people", "2"]  # whoever that is
    annotated = CliRunner().invoke(main, ["infer", str(examples / "walkers.mp4"), *arguments])
    assert annotated.exit_code == 0, annotated.output
    assert json.loads((tmp_path / "poses" / "walkers.results.json").read_text())


def test_export_wants_a_format():
    result = run("export", "prs-tiny")

    assert result.exit_code == 2
    assert "add --onnx" in result.stderr


@pytest.mark.parametrize("given", [["--int8"], ["--calibration", "photos"]])
def test_eight_bits_want_pictures_and_pictures_eight_bits(given):
    result = run("export", "prs-tiny", "--onnx", *given)

    assert result.exit_code == 2
    assert "--int8 and --calibration FOLDER go together" in result.stderr


def test_boxes_want_pictures():
    result = run("export", "prs-tiny", "--onnx", "--boxes", "boxes.json")

    assert result.exit_code == 2
    assert "--boxes says where people are on the pictures of --calibration" in result.stderr
