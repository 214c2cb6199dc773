"""Training: it learns, repeats, resumes, stops, and is the same in several processes."""

from __future__ import annotations

import copy
import dataclasses
import signal

import pytest
import torch

from recblr.config import RecBLRConfig
from recblr.data import Split, leave_one_out, synthetic_interactions
from recblr.errors import CheckpointError, ConfigError, DataError, TrainingError
from recblr.evaluation import evaluate
from recblr.model import RecBLR
from recblr.objective import Objective
from recblr.saved_run import load_run
from recblr.trainer import EpochRecord, Trainer, TrainingConfig


class Recorder:
    """A monitor that keeps what it is told."""

    def __init__(self, interrupt_in_epoch: int | None = None):
        self.interrupt_in_epoch = interrupt_in_epoch
        self.records: list[EpochRecord] = []
        self.tokens = 0

    def epoch_started(self, epoch, tokens):
        if epoch == self.interrupt_in_epoch:
            raise KeyboardInterrupt

    def batch_done(self, tokens, loss):
        self.tokens += tokens

    def validating(self):
        pass

    def epoch_done(self, record, model):
        self.records.append(record)


@pytest.fixture(scope="module")
def split() -> Split:
    return leave_one_out(synthetic_interactions(150, 60, 12, seed=1))


CONFIG = TrainingConfig(epochs=3, batch_tokens=400, learning_rate=5e-3)


def trainer(split: Split, config: TrainingConfig = CONFIG, **model_settings) -> Trainer:
    torch.manual_seed(config.seed)
    settings = {"dim": 16, "layers": 2, "dropout": 0.1, **model_settings}
    return Trainer(RecBLR(RecBLRConfig(n_items=60, **settings)), split, config)


def losses(records: list[EpochRecord]) -> list[float]:
    return [record.loss for record in records]


def test_it_learns_more_than_popularity(split):
    run = trainer(split, dataclasses.replace(CONFIG, epochs=20))
    run.fit(Recorder())
    train = torch.from_numpy(split.train.items).long()
    popular = torch.bincount(train, minlength=61).topk(10).indices
    hit_by_popularity = torch.isin(torch.from_numpy(split.test.targets), popular).float().mean()
    assert evaluate(run.model, split.test).metrics["hr@10"] > 1.5 * hit_by_popularity


def test_every_position_is_a_target_once_an_epoch(split):
    recorder = Recorder()
    trainer(split, dataclasses.replace(CONFIG, epochs=2, max_history=5)).fit(recorder)
    targets = (split.train.lengths - 1).clip(min=0).sum()
    assert recorder.tokens == 2 * targets
    assert recorder.records[0].tokens == targets


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_long_row_is_learned_in_pieces_that_carry_the_state(split, precision):
    """With a learning rate too small to change a weight, pieces have the whole row's loss."""
    config = dataclasses.replace(CONFIG, epochs=1, learning_rate=1e-30, precision=precision)
    mean = {}
    for batch_tokens in (5, 10**6):
        run = trainer(split, dataclasses.replace(config, batch_tokens=batch_tokens), dropout=0.0)
        assert (run.rows_in_pieces > 0) == (batch_tokens == 5)
        mean[batch_tokens] = losses([run.fit(Recorder())])[0]
    assert mean[5] == pytest.approx(mean[10**6], rel=1e-5 if precision == "fp32" else 1e-3)


def test_a_seed_repeats_exactly(split):
    runs = [trainer(split) for _ in range(2)]
    records = [Recorder(), Recorder()]
    for run, recorder in zip(runs, records, strict=True):
        run.fit(recorder)
    assert losses(records[0].records) == losses(records[1].records)
    for one, other in zip(runs[0].model.parameters(), runs[1].model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_another_seed_differs(split):
    records = [Recorder(), Recorder()]
    for seed, recorder in enumerate(records):
        trainer(split, dataclasses.replace(CONFIG, epochs=1, seed=seed)).fit(recorder)
    assert losses(records[0].records) != losses(records[1].records)


def test_resuming_equals_going_on(split, tmp_path):
    straight = trainer(split, dataclasses.replace(CONFIG, epochs=4))
    recorder = Recorder()
    straight.fit(recorder)

    trainer(split, dataclasses.replace(CONFIG, epochs=2)).fit(Recorder(), tmp_path / "resume")
    resumed = trainer(split, dataclasses.replace(CONFIG, epochs=4))
    best, model = resumed.resume(load_run(tmp_path / "resume"))
    assert evaluate(model, split.validation).metrics == best.validation
    resumed.fit(Recorder())
    assert losses(resumed.state.records) == losses(recorder.records)
    for one, other in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_resuming_again_and_again_keeps_the_best_epoch(split, tmp_path):
    config = dataclasses.replace(CONFIG, learning_rate=1e-9)  # so the first epoch stays the best
    trainer(split, dataclasses.replace(config, epochs=1)).fit(Recorder(), tmp_path / "resume")
    first = load_run(tmp_path / "resume").best_weights
    for epochs in (2, 3):
        resumed = trainer(split, dataclasses.replace(config, epochs=epochs))
        resumed.resume(load_run(tmp_path / "resume"))
        assert resumed.fit(Recorder(), tmp_path / "resume").epoch == 1
        assert all(torch.equal(value, first[name]) for name, value in resumed.model.state_dict().items())


def test_resuming_with_other_settings_is_refused(split, tmp_path):
    trainer(split, dataclasses.replace(CONFIG, epochs=1)).fit(Recorder(), tmp_path / "resume")
    other = trainer(split, dataclasses.replace(CONFIG, learning_rate=1e-4, objective=Objective(loss="sampled")))
    with pytest.raises(CheckpointError, match=r"other settings: learning_rate was .* and is 0\.0001, loss was"):
        other.resume(load_run(tmp_path / "resume"))


def test_resuming_from_something_else_is_refused(split, tmp_path):
    path = tmp_path / "resume"
    torch.save({"a": 1}, path)
    with pytest.raises(CheckpointError, match="holds no training run"):
        load_run(path)
    trainer(split, dataclasses.replace(CONFIG, epochs=1)).fit(Recorder(), path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="is no resume file, or a damaged one: start anew without --resume"):
        load_run(path)
    path.write_bytes(content)
    run = load_run(path)
    for damage in ({"best_weights": {}}, {"weights": {}}, {"records": []}, {"records": None}, {"optimizer": {}}):
        with pytest.raises(CheckpointError, match="holds no training run"):
            trainer(split).resume(dataclasses.replace(run, **damage))
    dataclasses.replace(run, settings=None).save(path)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_run(path)


def test_it_stops_when_validation_stops_rising(split):
    recorder = Recorder()
    best = trainer(split, dataclasses.replace(CONFIG, epochs=100, patience=2, learning_rate=1e-7)).fit(recorder)
    assert len(recorder.records) == best.epoch + 2
    metrics = [record.validation["ndcg@10"] for record in recorder.records]
    assert best.validation["ndcg@10"] == max(metrics)


def test_the_best_epochs_weights_are_kept(split):
    run = trainer(split, dataclasses.replace(CONFIG, epochs=6))
    best = run.fit(Recorder())
    assert evaluate(run.model, split.validation).metrics == best.validation


def test_an_interruption_keeps_the_best_so_far(split):
    run, recorder = trainer(split), Recorder(interrupt_in_epoch=3)
    with pytest.raises(KeyboardInterrupt):
        run.fit(recorder)
    assert len(recorder.records) == 2
    assert evaluate(run.model, split.validation).metrics == run.state.best.validation


def test_a_loss_that_is_not_finite_stops_and_keeps_the_best(split):
    run, recorder = trainer(split), Recorder()

    def poison(record, model):
        Recorder.epoch_done(recorder, record, model)
        with torch.no_grad():
            model.norm.weight[0] = float("nan")

    recorder.epoch_done = poison
    with pytest.raises(TrainingError, match=r"loss is nan in epoch 2, batch 1.*--learning-rate"):
        run.fit(recorder)
    assert evaluate(run.model, split.validation).metrics == recorder.records[0].validation


def test_bf16_learns_about_the_same(split):
    records = {precision: Recorder() for precision in ("fp32", "bf16")}
    for precision, recorder in records.items():
        trainer(split, dataclasses.replace(CONFIG, precision=precision), dropout=0.0).fit(recorder)
    assert losses(records["bf16"].records) == pytest.approx(losses(records["fp32"].records), rel=0.02)


def test_a_learned_initial_state_moves(split):
    run = trainer(split, dataclasses.replace(CONFIG, epochs=1), initial_state=True)
    run.fit(Recorder())
    assert run.model.initial_h.abs().max() > 0


def test_nothing_to_learn_from():
    data = leave_one_out(synthetic_interactions(50, 20, 3, seed=0, min_length=3))
    empty = dataclasses.replace(
        data, train=dataclasses.replace(data.train, items=data.train.items[:0], offsets=data.train.offsets[:1] * 0)
    )
    with pytest.raises(DataError, match="nothing to learn from"):
        trainer(empty)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0),
        ("patience", 0),
        ("batch_tokens", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("weight_decay", -1.0),
        ("max_history", 0),
        ("precision", "fp8"),
        ("seed", -1),
    ],
)
def test_settings_out_of_range(setting, value):
    with pytest.raises(ConfigError, match=f"{setting} is"):
        TrainingConfig(**{setting: value})


def test_averaged_weights_are_validated_and_kept(split):
    config = dataclasses.replace(CONFIG, weight_average=0.9, epochs=1)
    seen = []

    class Watcher(Recorder):
        def epoch_done(self, record, model):
            super().epoch_done(record, model)
            seen.append((copy.deepcopy(model.state_dict()), evaluate(model, split.validation).metrics))

    run = trainer(split, config)
    plain = trainer(split, dataclasses.replace(config, weight_average=0.0))
    step, expected = plain.step, []
    average: dict[str, torch.Tensor] = {}

    def recorded_step(batch, tokens):
        loss = step(batch, tokens)
        for name, value in plain.model.state_dict().items():
            average[name] = value.clone() if name not in average else 0.9 * average[name] + 0.1 * value
        expected.append(loss)
        return loss

    plain.step = recorded_step
    plain.fit(Recorder())
    run.fit(watcher := Watcher())
    weights, metrics = seen[0]
    assert watcher.records[0].validation == metrics
    torch.testing.assert_close(weights, average)
    torch.testing.assert_close(run.model.state_dict(), average)  # after fit, the model has what was kept


def test_a_schedule_and_an_average_resume_exactly(split, tmp_path):
    config = dataclasses.replace(CONFIG, schedule="cosine", warmup_epochs=0.5, weight_average=0.9)
    whole, recorder = trainer(split, config), Recorder()
    whole.fit(recorder)
    first = trainer(split, config)
    with pytest.raises(KeyboardInterrupt):
        first.fit(Recorder(interrupt_in_epoch=3), tmp_path / "run.resume")
    second, rest = trainer(split, config), Recorder()
    second.resume(load_run(tmp_path / "run.resume"))
    second.fit(rest)
    assert [record.loss for record in rest.records] == losses(recorder.records)[2:]
    assert rest.records[-1].validation == recorder.records[-1].validation
    longer = trainer(split, dataclasses.replace(config, epochs=4))
    with pytest.raises(CheckpointError, match="other settings: epochs was 3 and is 4;"):
        longer.resume(load_run(tmp_path / "run.resume"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "linear"}, "schedule is 'linear': give one of constant, cosine"),
        ({"warmup_epochs": 5.0, "epochs": 4}, "warmup_epochs is 5.0: give a number from 0 to epochs"),
        ({"weight_average": 1.0}, "weight_average is 1.0: give 0, or a decay below 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        TrainingConfig(**settings)


@pytest.mark.parametrize("settings", [{"loss": "sampled", "negatives": 20}, {"item_norm": 2.0}])
def test_other_objectives_learn_and_keep_an_ordinary_model(split, settings):
    config = dataclasses.replace(CONFIG, epochs=15, objective=Objective(**settings))
    run = trainer(split, config)
    before = evaluate(run.model, split.validation).metrics["ndcg@10"]
    best = run.fit(Recorder())
    assert best.validation["ndcg@10"] > 1.5 * before
    # What is kept needs no option to rank as it was validated.
    assert evaluate(run.model, split.validation).metrics == best.validation


def test_ctrl_c_while_an_epoch_is_saved_waits_until_it_is(split, tmp_path):
    class Interrupted(Recorder):
        def epoch_done(self, record, model):
            signal.raise_signal(signal.SIGINT)
            super().epoch_done(record, model)

    recorder, resume_file = Interrupted(), tmp_path / "run.resume"
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trainer(split).fit(recorder, resume_file)
    assert len(recorder.records) == 1
    assert signal.getsignal(signal.SIGINT) is handler
    resumed = trainer(split)
    resumed.resume(load_run(resume_file))
    assert resumed.state.epoch == 1
