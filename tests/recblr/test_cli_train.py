"""recblr-train and recblr-evaluate, as a shell uses them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from recblr.checkpoint import Checkpoint, load_checkpoint
from recblr.cli.evaluate import main as evaluate_main
from recblr.cli.train import main as train_main
from recblr.preparation import DataSettings

SMALL = ["--dim", "16", "--batch-tokens", "400", "--learning-rate", "0.005"]


def run(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def one_line(result) -> str:
    """The error of a run that failed as it should: one line, no traceback."""
    assert result.exit_code == 1, result.output
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    return lines[0]


def tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


@pytest.fixture(scope="module")
def trained(small_csv, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("run") / "model.pt"
    result = run(train_main, small_csv, "-o", output, "--epochs", 2, *SMALL)
    assert result.exit_code == 0, result.output
    return output


def test_training_writes_model_log_and_plot(trained):
    checkpoint = load_checkpoint(trained)
    assert checkpoint.metrics.keys() == {"validation", "test"}
    assert checkpoint.vocabulary.counts.sum() > 0
    assert checkpoint.data["fingerprint"].startswith("sha256:")
    assert checkpoint.versions["torch"] == str(torch.__version__)
    log = [json.loads(line) for line in trained.with_suffix(".log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in log] == [1, 2]
    assert {"loss", "validation", "train_seconds"} <= log[0].keys()
    assert trained.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_training_prints_data_epochs_and_metrics(small_csv, tmp_path):
    result = run(train_main, small_csv, "-o", tmp_path / "m.pt", "--epochs", 1, *SMALL)
    for text in ("interactions", "epoch   1  loss", "NDCG@10", "wrote"):
        assert text in result.output


def test_evaluate_repeats_the_test_metrics(trained, small_csv, tmp_path):
    result = run(evaluate_main, trained, small_csv, "--json", tmp_path / "metrics.json")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "metrics.json").read_text())
    expected = load_checkpoint(trained).metrics["test"]
    assert {name: report[name] for name in expected} == pytest.approx(expected)
    assert report["same_data_as_training"]
    assert f"{expected['hr@10']:.4f}" in result.output


def test_evaluate_masks_seen_items_and_the_validation_part(trained, small_csv, tmp_path):
    for name, options in {"plain": [], "masked": ["--mask-seen"], "validation": ["--part", "validation"]}.items():
        assert run(evaluate_main, trained, small_csv, "--json", tmp_path / name, *options).exit_code == 0
    plain, masked, validation = (json.loads((tmp_path / n).read_text()) for n in ("plain", "masked", "validation"))
    assert masked["mask_seen"]
    assert masked["hr@10"] >= plain["hr@10"]
    expected = load_checkpoint(trained).metrics["validation"]
    assert {name: validation[name] for name in expected} == pytest.approx(expected)


def test_a_split_by_time_is_remembered(tmp_path):
    data = tmp_path / "data.csv"
    rows = [f"{user},{(user * 7 + time) % 15},{time}" for time in range(20) for user in range(30)]
    data.write_text("\n".join(["user_id,item_id,timestamp", *rows]))
    split = ["--validation-time", 14, "--test-time", 17]
    result = run(train_main, data, "-o", tmp_path / "m.pt", "--epochs", 1, *split, *SMALL)
    assert result.exit_code == 0, result.output
    assert run(evaluate_main, tmp_path / "m.pt", data, "--json", tmp_path / "metrics.json").exit_code == 0
    report = json.loads((tmp_path / "metrics.json").read_text())
    expected = load_checkpoint(tmp_path / "m.pt").metrics["test"]
    assert report["settings"]["test_time"] == 17
    assert {name: report[name] for name in expected} == pytest.approx(expected)
    counts = load_checkpoint(tmp_path / "m.pt").vocabulary.counts
    assert counts.sum() == 30 * 14


def test_several_files_dates_and_settings_are_remembered(tmp_path):
    days = [f"2024-05-{day:02}" for day in range(1, 21)]
    for day, date in enumerate(days):
        folder = tmp_path / f"logs/date={date}"
        folder.mkdir(parents=True)
        rows = [f"u{user},{'' if user == 0 else (user * 7 + day) % 15},x" for user in range(31)]
        (folder / "part-0.csv").write_text("\n".join(rows))
    options = ["--no-header", "--columns", "user_id,item_id,_", "--timestamp-column", "date", "--null-values", ""]
    options += ["--id-type", "string", "--validation-time", "2024-05-15", "--test-time", "2024-05-18"]
    result = run(train_main, tmp_path / "logs", "-o", tmp_path / "m.pt", "--epochs", 1, *options, *SMALL)
    assert result.exit_code == 0, result.output
    checkpoint = load_checkpoint(tmp_path / "m.pt")
    assert checkpoint.data["name"] == "20 files in logs/"
    assert checkpoint.data["settings"]["test_time"] == "2024-05-18"
    assert checkpoint.data["summary"]["filtered"]["null_rows"] == 20
    assert checkpoint.data["summary"]["time_unit"] == "us"
    assert checkpoint.vocabulary.counts.sum() == 30 * 14
    data = sorted((tmp_path / "logs").glob("*/*.csv"))
    result = run(evaluate_main, tmp_path / "m.pt", *data, "--json", tmp_path / "metrics.json")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["same_data_as_training"]
    assert report["settings"] == checkpoint.data["settings"]
    assert {name: report[name] for name in checkpoint.metrics["test"]} == pytest.approx(checkpoint.metrics["test"])


def test_models_of_older_versions_have_the_defaults(trained, small_csv):
    settings = load_checkpoint(trained).data["settings"]
    old = {name: settings[name] for name in ("columns", "min_user_interactions", "validation_time", "test_time")}
    assert DataSettings.from_dict(old) == DataSettings.from_dict(settings)
    assert DataSettings.from_dict(old).id_type == "auto"


def test_notes_go_to_stderr(trained, small_csv, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text(small_csv.read_text() + "A-1,1,5\n")
    for command in ([train_main, data, "-o", tmp_path / "m.pt", "--epochs", 1, *SMALL], [evaluate_main, trained, data]):
        result = run(*command)
        assert result.exit_code == 0, result.output
        (note,) = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
        assert "every user_id is a string because 1 of " in note


def test_resume_goes_on(small_csv, tmp_path):
    output = tmp_path / "m.pt"
    assert run(train_main, small_csv, "-o", output, "--epochs", 1, *SMALL).exit_code == 0
    result = run(train_main, small_csv, "-o", output, "--epochs", 2, "--resume", *SMALL)
    assert result.exit_code == 0
    assert "resuming after epoch 1" in result.output
    assert len(output.with_suffix(".log.jsonl").read_text().splitlines()) == 2


def test_ctrl_c_keeps_the_best_model(small_csv, tmp_path):
    output = tmp_path / "m.pt"
    command = [
        tool("recblr-train"),
        str(small_csv),
        "-o",
        str(output),
        "--epochs",
        "9999",
        "--patience",
        "9999",
        *SMALL,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    while not output.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert "best model so far is in" in printed
    assert "Traceback" not in printed
    assert isinstance(load_checkpoint(output), Checkpoint)


def test_two_processes_train_as_one(small_csv, tmp_path):
    arguments = [str(small_csv), "--epochs", "3", "--dropout", "0", *SMALL]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    alone = [tool("recblr-train"), *arguments, "-o", str(tmp_path / "one.pt")]
    together = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"),
        *(tool("recblr-train"), *arguments, "-o", str(tmp_path / "two.pt")),
    ]
    for command in (alone, together):
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
    one, two = (
        [json.loads(line)["loss"] for line in (tmp_path / name).read_text().splitlines()]
        for name in ("one.log.jsonl", "two.log.jsonl")
    )
    assert two == pytest.approx(one, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.csv"], "nowhere.csv"),
        (["DATA", "--user-column", "who"], "--user-column"),
        (["DATA", "--min-user-interactions", "5000"], "lower --min-user-interactions"),
        (["DATA", "--dropout", "2"], "dropout is 2.0"),
        (["DATA", "--validation-time", "3"], "--test-time"),
        (["DATA", "--validation-time", "2024-02-30", "--test-time", "2024-05-01"], "'2024-02-30' is neither"),
        (["DATA", "--validation-time", "2024-05-01", "--test-time", "2024-05-02"], "are plain numbers from"),
        (["DATA", "DATA"], "is given twice"),
        (["DATA", "--no-header"], "add --columns"),
        (["DATA", "--columns", "a,b"], "add --no-header or leave it out"),
        (["DATA", "--no-header", "--columns", "a,a,b"], "names one twice"),
        (["DATA", "--no-header", "--columns", "item_id,timestamp,user_id"], "line 1: timestamp 'item_id'"),
        (["DATA", "--null-values", "none,NULL"], "give it alone"),
        (["DATA", "--device", "nonsense"], "device 'nonsense' cannot be used"),
        (["DATA", "--resume"], "nothing to resume"),
    ],
)
def test_bad_input_is_one_line(arguments, message, small_csv, tmp_path):
    given = [str(small_csv) if argument == "DATA" else argument for argument in arguments]
    assert message in one_line(run(train_main, *given, "-o", tmp_path / "m.pt"))
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written_is_found_before_training(small_csv, tmp_path):
    message = one_line(run(train_main, small_csv, "-o", tmp_path / "no" / "m.pt", *SMALL))
    assert "cannot write" in message
    assert "create its folder first" in message
    assert "the path is a folder" in one_line(run(train_main, small_csv, "-o", tmp_path, *SMALL))


def test_one_user(tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("user_id,item_id,timestamp\n" + "".join(f"1,{n},{n}\n" for n in range(9)))
    message = one_line(
        run(train_main, path, "-o", tmp_path / "m.pt", "--min-item-interactions", 0, "--min-user-interactions", 0)
    )
    assert "1 of 1 users" in message


def test_evaluate_refuses_a_wrong_model_file(small_csv, tmp_path):
    assert "is no model file" in one_line(run(evaluate_main, small_csv, small_csv))
    assert "does not exist" in one_line(run(evaluate_main, tmp_path / "nowhere.pt", small_csv))


def test_evaluate_with_items_the_model_does_not_know(trained, tmp_path):
    other = tmp_path / "other.csv"
    rows = [(user, f"new{n}" if n % 2 else n + 1, n) for user in range(6) for n in range(8)]
    other.write_text("user_id,item_id,timestamp\n" + "".join(f"{u},{i},{t}\n" for u, i, t in rows))
    result = run(evaluate_main, trained, other, "--json", tmp_path / "m.json")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "m.json").read_text())
    assert report["unknown_targets"] == 6
    assert report["hr@10"] == 0
    assert not report["same_data_as_training"]


@pytest.mark.parametrize("name", ["recblr-train", "recblr-evaluate"])
def test_help_needs_no_torch(name):
    code = (
        f"import sys; from recblr.cli.{name[7:]} import main; main(['--help'], standalone_mode=False);"
        "sys.exit(bool({'torch', 'pyarrow', 'rich'} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Usage:" in result.stdout
    shown = subprocess.run([tool(name), "--help"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0


def test_a_missing_extra_names_the_command(monkeypatch, small_csv, tmp_path):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    message = one_line(run(train_main, small_csv, "-o", tmp_path / "m.pt"))
    assert "pip install 'recblr[train]'" in message
