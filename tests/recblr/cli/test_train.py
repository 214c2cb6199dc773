"""recblr-train and recblr-evaluate, as a shell uses them."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
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


def beside(output: Path, suffix: str) -> Path:
    return output.with_name(f"{output.name}.{suffix}")


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
    assert checkpoint.data["fingerprint"].startswith("content-sha256:")
    assert checkpoint.versions["torch"] == str(torch.__version__)
    log = [json.loads(line) for line in beside(trained, "log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in log] == [1, 2]
    assert {"loss", "validation", "train_seconds"} <= log[0].keys()
    assert beside(trained, "png").read_bytes().startswith(b"\x89PNG")


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
    assert plain["repeated_targets"] == masked["repeated_targets"] > 0
    assert masked["hr@20"] <= 1 - masked["repeated_targets"] / masked["rows"] < plain["hr@20"]
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
    assert len(beside(output, "log.jsonl").read_text().splitlines()) == 2


def cycles(n_users: int = 60, n_items: int = 20) -> list[tuple[int, str, int]]:
    return [(user, f"p{(user + k) % n_items}", (user * 12 + k) // 2) for user in range(n_users) for k in range(12)]


def write_csv(path: Path, rows: list[tuple]) -> Path:
    path.write_text("user_id,item_id,timestamp\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def test_resuming_with_the_rows_in_another_order_equals_an_uninterrupted_run(tmp_path):
    rows = cycles()
    first = write_csv(tmp_path / "a.csv", rows)
    shuffled = write_csv(tmp_path / "b.csv", random.Random(5).sample(rows, len(rows)))
    whole, parts = tmp_path / "whole.pt", tmp_path / "parts.pt"
    assert run(train_main, first, "-o", whole, "--epochs", 2, *SMALL).exit_code == 0
    assert run(train_main, first, "-o", parts, "--epochs", 1, *SMALL).exit_code == 0
    result = run(train_main, shuffled, "-o", parts, "--epochs", 2, "--resume", *SMALL)
    assert result.exit_code == 0, result.output
    assert load_checkpoint(parts).fingerprint() == load_checkpoint(whole).fingerprint()
    assert load_checkpoint(parts).metrics == load_checkpoint(whole).metrics
    evaluated = run(evaluate_main, parts, first).output
    assert "not the data" not in evaluated
    assert "other order of equal times" not in evaluated
    assert "other order of equal times than in training" in run(evaluate_main, parts, shuffled).output


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda rows: [(u, "q" + i[1:], t) for u, i, t in rows], (), "20 items are new .* 20 items are gone"),
        (lambda rows: [(u, i if i != "p7" else "new", t) for u, i, t in rows], (), "'new'.*'p7'"),
        (lambda rows: [(u, i[1:], t) for u, i, t in rows], (), "ids were strings .such as 'p0'. and are integers"),
        (lambda rows: rows[12:], (), "60 users then, 59 now"),
        (lambda rows: rows[1:], (), "720 interactions then, 719 now"),
        (lambda rows: [(u, i, t + 1) for u, i, t in rows], (), "other users, items or times"),
        (
            lambda rows: [*rows, (0, "rare", 9)],
            ("--min-item-interactions", "1"),
            "min_item_interactions was 5 and is 1",
        ),
        (
            lambda rows: [(u, i, t % 6) for u, i, t in rows],
            ("--validation-time", "2", "--test-time", "4"),
            "test_time was",
        ),
    ],
)
def test_resuming_with_other_data_is_refused_and_harms_nothing(change, options, message, tmp_path):
    rows = cycles()
    data, output = tmp_path / "data.csv", tmp_path / "m.pt"
    assert run(train_main, write_csv(data, rows), "-o", output, "--epochs", 1, *SMALL).exit_code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.glob("m.pt*")}
    write_csv(data, change(rows))
    text = one_line(run(train_main, data, "-o", output, "--epochs", 2, "--resume", *options, *SMALL))
    assert re.search(message, text), text
    assert {path.name: path.read_bytes() for path in tmp_path.glob("m.pt*")} == before


def test_resuming_restores_the_output_as_it_was(small_csv, tmp_path):
    output = tmp_path / "m.pt"
    options = ["--epochs", 3, "--learning-rate", 1e-9, *SMALL[:4]]  # so the first epoch stays the best
    assert run(train_main, small_csv, "-o", output, *options).exit_code == 0
    whole, log = load_checkpoint(output), beside(output, "log.jsonl").read_text()
    output.write_text("another file")
    beside(output, "log.jsonl").unlink()
    beside(output, "png").unlink()
    assert run(train_main, small_csv, "-o", output, *options, "--resume").exit_code == 0
    again = load_checkpoint(output)
    assert again.training["best_epoch"] == 1
    assert again.fingerprint() == whole.fingerprint()
    assert (again.training, again.metrics, again.data) == (whole.training, whole.metrics, whole.data)
    assert beside(output, "log.jsonl").read_text() == log
    assert beside(output, "png").exists()


def test_resume_with_nothing_to_resume_starts_anew_and_says_so(small_csv, tmp_path):
    result = run(train_main, small_csv, "-o", tmp_path / "m.pt", "--epochs", 1, "--resume", *SMALL)
    assert result.exit_code == 0
    assert "nothing to resume" in result.output
    assert (tmp_path / "m.pt").exists()


def test_no_command_writes_over_its_input(small_csv, trained, tmp_path):
    data = tmp_path / "x.csv"
    shutil.copy(small_csv, data)
    os.link(data, tmp_path / "m.pt.png")
    content = data.read_bytes()
    for command in (
        (train_main, data, "-o", data),
        (train_main, data, "-o", tmp_path / "m.pt"),  # its plot
        (evaluate_main, trained, data, "--json", data),
    ):
        assert "would destroy the input" in one_line(run(*command))
    assert "would destroy the input" in one_line(run(evaluate_main, trained, data, "--json", trained))
    assert data.read_bytes() == content


def test_outputs_that_differ_behind_a_dot_share_no_file(small_csv, tmp_path):
    for name in ("run.lr0.001", "run.lr0.002"):
        assert run(train_main, small_csv, "-o", tmp_path / name, "--epochs", 1, *SMALL).exit_code == 0
    names = {f"run.lr0.00{n}{suffix}" for n in (1, 2) for suffix in ("", ".log.jsonl", ".png", ".resume")}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_repeats_are_counted_warned_of_and_dropped(tmp_path):
    rows = cycles()
    data = write_csv(tmp_path / "twice.csv", [row for row in rows for _ in range(2)])
    result = run(train_main, data, "-o", tmp_path / "m.pt", "--epochs", 1, *SMALL)
    assert re.search(r"exact repeats .* 720 .* 0 ", result.output)
    assert "100.0% of the users' next items repeat the one right before" in result.output
    summary = load_checkpoint(tmp_path / "m.pt").data["summary"]
    assert summary["filtered"]["exact_repeats"] == summary["immediate_repeats"] == 720
    result = run(train_main, data, "-o", tmp_path / "m.pt", "--epochs", 1, "--drop-duplicates", *SMALL)
    assert re.search(r"exact repeats .* 720 .* 720 ", result.output)
    assert "warning" not in result.output
    assert run(evaluate_main, tmp_path / "m.pt", data, "--json", tmp_path / "r.json").exit_code == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["settings"]["drop_duplicates"]
    assert report["same_data_as_training"]
    assert report["repeated_targets"] == 0


def test_evaluation_says_what_share_of_targets_are_repeats(trained, tmp_path):
    data = write_csv(tmp_path / "cycle.csv", [(user, 1 + k % 4, k) for user in range(30) for k in range(12)])
    shown = run(evaluate_main, trained, data, "--min-user-interactions", 0, "--mask-seen", "--json", tmp_path / "r")
    assert "100.0% of the next items are repeats of earlier ones, which count as misses" in shown.output
    assert json.loads((tmp_path / "r").read_text())["hr@20"] == 0


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
        for name in ("one.pt.log.jsonl", "two.pt.log.jsonl")
    )
    assert two == pytest.approx(one, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.csv"], "nowhere.csv"),
        (["DATA", "--user-column", "who"], "--user-column"),
        (["DATA", "--min-user-interactions", "5000"], "lower --min-user-interactions"),
        (["DATA", "--warmup-epochs", "999"], "warmup_epochs is 999.0"),
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
    for folder in (tmp_path, ".", "/"):
        assert "the path is a folder" in one_line(run(train_main, small_csv, "-o", folder, *SMALL))
    assert "is empty: give a path" in one_line(run(train_main, small_csv, "-o", "", *SMALL))


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


def test_evaluate_says_nothing_of_the_training_data_that_a_model_does_not_tell(trained, tmp_path):
    torch.save(load_checkpoint(trained).model.state_dict(), tmp_path / "weights.pt")
    data = write_csv(tmp_path / "data.csv", [(user, 1 + k % 4, k) for user in range(30) for k in range(12)])
    result = run(evaluate_main, tmp_path / "weights.pt", data, "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    assert "not the data" not in result.output
    assert json.loads((tmp_path / "r.json").read_text())["same_data_as_training"] is None


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


def test_evaluate_with_one_id_that_makes_strings_of_all(trained, small_csv, tmp_path, caplog):
    data = tmp_path / "strings.csv"
    data.write_text(small_csv.read_text() + "1,A-1,0\n")
    reports = []
    for path in (small_csv, data):
        assert run(evaluate_main, trained, path, "--json", tmp_path / "m.json").exit_code == 0
        reports.append(json.loads((tmp_path / "m.json").read_text()))
    same = ("hr@10", "ndcg@10", "mrr@20", "rows", "unknown_targets")
    assert [reports[0][key] for key in same] == [reports[1][key] for key in same]
    assert "were converted" in caplog.text


def test_evaluate_with_not_one_item_that_the_model_knows(trained, tmp_path):
    data = tmp_path / "other.csv"
    data.write_text("user_id,item_id,timestamp\n" + "".join(f"{n % 6},new{n // 6},{n}\n" for n in range(48)))
    message = one_line(run(evaluate_main, trained, data))
    assert "none of the data's 8 items: the data's item ids are strings such as 'new0', 'new1', 'new2'" in message


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
