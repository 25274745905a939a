"""A training that was killed goes on from its last checkpoint, and ends as if nothing had happened."""

import logging
from contextlib import suppress
from itertools import count
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from corpuscle.core import components, usage
from corpuscle.core.errors import FolderError
from corpuscle.model.architectures.masked_autoencoder import MaskedAutoencoder
from corpuscle.model.data import epoch_order, on_disk
from corpuscle.model.data.epoch_order import EpochLayout, after_steps
from corpuscle.model.model import Model
from corpuscle.model.training import checkpoints
from corpuscle.model.training.checkpoints import checkpoints_in, checkpoints_until_done
from corpuscle.model.training.fine_tuning import FineTuning, fine_tune
from corpuscle.model.training.optimiser import Adam

SETTINGS = {
    "ldvae": {"n_hidden": 8, "n_latent": 3},
    "scvi": {"n_hidden": 8, "n_latent": 3},
    "masked_autoencoder": {"widths": [12, 8, 4], "rate_schedule": {"warmup": 9, "decay": "cosine"}},
    "contrastive": {"widths": [8], "n_latent": 4, "across": "", "rate_schedule": {"decay": "cosine"}},
    "mlp_classifier": {"n_hidden": 8, "rate_schedule": {"warmup": 0.1}, "clip_norm": 1.0, "accumulate": 2},
}
PATIENT = {"epochs": 30, "patience": 6}


class KilledError(Exception):
    """What ends a process, as far as a test can."""


@pytest.fixture
def kill_at(monkeypatch):
    """Let the optimiser raise at a step of this process, counted from 1; returns the steps taken."""

    def kill(step: int) -> list[int]:
        taken, true = [], Adam.step

        def counted(adam):
            if len(taken) + 1 == step:
                monkeypatch.setattr(Adam, "step", true)
                raise KilledError
            taken.append(1)
            true(adam)

        monkeypatch.setattr(Adam, "step", counted)
        return taken

    return kill


@pytest.fixture
def typed(make_corpus, draw_counts):
    """60 cells of two types; a few are used twice."""
    corpus = make_corpus(draw_counts(60, 20), times=1 + (np.arange(60) % 7 == 0))
    corpus.cells["cell_type"] = np.where(np.arange(60) % 3 == 0, "B", "T")
    return corpus


def weights(fitted) -> dict[str, torch.Tensor]:
    return fitted.network.state_dict()


def assert_same(fitted, undisturbed) -> None:
    assert {name: tensor.tolist() for name, tensor in weights(fitted).items()} == {
        name: tensor.tolist() for name, tensor in weights(undisturbed).items()
    }
    pd.testing.assert_frame_equal(fitted.history, undisturbed.history, check_exact=True)


@pytest.mark.parametrize("budget", [{"steps": 50}, PATIENT], ids=["steps", "patience"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_killed_fit_goes_on_to_the_same_bits(name, budget, typed, tmp_path, kill_at):
    model = components.build(Model, name, SETTINGS[name] | {"batch_size": 16, "learning_rate": 0.01, "budget": budget})
    undisturbed = model.fit(typed, 3)
    n_steps = int(undisturbed.history["step"].max())
    assert n_steps < 30 * 4 or "epochs" not in budget, "patience ended it"
    # At steps that end neither an epoch nor a stretch that is looked at together, and shortly before the end.
    for step in (6, 14, n_steps - 20):
        kill_at(step)
        with pytest.raises(KilledError), checkpoints_in(tmp_path / "fit", every_seconds=0):
            model.fit(typed, 3)
    taken = kill_at(10**6)
    with checkpoints_in(tmp_path / "fit", every_seconds=0):
        fitted = model.fit(typed, 3)
    assert len(taken) == 3
    assert_same(fitted, undisturbed)


@pytest.mark.parametrize("frozen", [False, True], ids=["whole", "frozen"])
def test_killed_fine_tuning_goes_on_to_the_same_bits(frozen, typed, tmp_path, kill_at):
    autoencoder = MaskedAutoencoder(widths=[12, 4], budget={"steps": 5}).fit(typed, 0)
    settings = FineTuning(weights="frozen" if frozen else "whole", batch_size=16, learning_rate=0.01, budget=PATIENT)

    def tune():
        return fine_tune(autoencoder, typed, typed.labels("cell_type"), settings, 1)

    undisturbed = tune()
    kill_at(21)
    with pytest.raises(KilledError), checkpoints_in(tmp_path, every_seconds=0):
        tune()
    taken = kill_at(10**6)
    with checkpoints_in(tmp_path, every_seconds=0):
        tuned = tune()
    assert len(taken) == undisturbed.history["step"].max() - 20
    np.testing.assert_array_equal(tuned.label_probabilities(typed), undisturbed.label_probabilities(typed))
    pd.testing.assert_frame_equal(tuned.history, undisturbed.history, check_exact=True)


def quick(**changes) -> MaskedAutoencoder:
    return MaskedAutoencoder(**{"widths": [12, 4], "batch_size": 16, "budget": {"steps": 20}} | changes)


def killed(model, corpus, folder, kill_at, step=15):
    """Leave the checkpoint of a fit that was killed; return where it is."""
    kill_at(step)
    with pytest.raises(KilledError), checkpoints_in(folder, every_seconds=0):
        model.fit(corpus, 0)
    (path,) = folder.iterdir()
    return path


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(epoch_order, "WINDOW_USES", 20)
    for module in (epoch_order, on_disk):
        monkeypatch.setattr(module, "BLOCK_USES", 5)


@pytest.mark.usefixtures("small_windows")
def test_a_corpus_on_disk_is_read_from_where_the_training_was(corpus, tmp_path, kill_at, monkeypatch):
    monkeypatch.setenv(on_disk.VARIABLE, "0")
    undisturbed = quick().fit(corpus, 0)
    killed(quick(), corpus, tmp_path / "fit", kill_at)
    with checkpoints_in(tmp_path / "fit"):
        assert_same(quick().fit(corpus, 0), undisturbed)


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("n_steps", range(12))
def test_an_order_goes_on_where_it_was_though_windows_and_batches_do_not_end_together(n_steps):
    layout = EpochLayout(np.ones(57, np.int64))

    def places(windows, n):
        found = []
        while len(found) < n:
            found += next(windows).places.tolist()
        return found

    whole, orders = layout.windows(np.arange(4), 50, np.random.default_rng(0)), np.random.default_rng(0)
    # Four batches an epoch, the last of two cells.
    seen = 50 * (n_steps // 4) + 16 * (n_steps % 4)
    rest = after_steps(layout.windows(np.arange(4), 50, orders), n_steps, 4, 16)
    assert places(rest, 60)[:60] == places(whole, seen + 60)[seen : seen + 60]


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(corpus, tmp_path, monkeypatch, kill_at):
    undisturbed, true, written = quick().fit(corpus, 0), checkpoints.save_file, []

    def killed_at_the_ninth(arrays, path, metadata):
        written.append(path)
        if len(written) == 9:
            path.write_bytes(b"half")
            raise KilledError
        true(arrays, path, metadata)

    monkeypatch.setattr(checkpoints, "save_file", killed_at_the_ninth)
    with pytest.raises(KilledError), checkpoints_in(tmp_path, every_seconds=0):
        quick().fit(corpus, 0)
    taken = kill_at(10**6)
    with checkpoints_in(tmp_path):
        assert_same(quick().fit(corpus, 0), undisturbed)
    assert len(taken) == 20 - 8


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match="cannot be written"), checkpoints_in(tmp_path / "file" / "fit"):
        pass


@pytest.mark.parametrize("damage", ["cut", "a bit", "no safetensors", "of another training"])
def test_a_checkpoint_that_cannot_be_used_is_reported_and_left_aside(damage, corpus, tmp_path, kill_at, caplog):
    undisturbed = quick().fit(corpus, 0)
    path = killed(quick(), corpus, tmp_path / "fit", kill_at)
    data = bytearray(path.read_bytes())
    match damage:
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "a bit":
            data[-1] ^= 1
            path.write_bytes(data)
        case "no safetensors":
            path.write_text("{}")
        case "of another training":
            other = killed(quick(learning_rate=0.1), corpus, tmp_path / "other", kill_at)
            assert other.name != path.name
            path.write_bytes(other.read_bytes())
    taken = kill_at(10**6)
    with checkpoints_in(tmp_path / "fit"):
        fitted = quick().fit(corpus, 0)
    assert len(taken) == 20
    assert_same(fitted, undisturbed)
    assert f"{path} cannot be used" in caplog.text
    assert "the training starts from its beginning" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [{"learning_rate": 0.1}, {"budget": {"steps": 21}}, {"validation_share": 0.2}, {"clip_norm": 1.0}],
    ids=str,
)
def test_another_training_does_not_go_on_from_a_checkpoint(changes, corpus, tmp_path, kill_at, caplog):
    killed(quick(), corpus, tmp_path / "fit", kill_at)
    taken = kill_at(10**6)
    with checkpoints_in(tmp_path / "fit"):
        quick(**changes).fit(corpus, 0)
    assert len(taken) >= 20
    assert not caplog.records


def test_several_trainings_in_one_folder_go_on_each_from_its_own(corpus, make_corpus, draw_counts, tmp_path, kill_at):
    other = make_corpus(draw_counts(60, 20, seed=5))
    undisturbed = [quick().fit(part, 0) for part in (corpus, other)]
    killed(quick(), corpus, tmp_path / "fit", kill_at)
    kill_at(6 + 10)  # the first has six left
    with pytest.raises(KilledError), checkpoints_in(tmp_path / "fit", every_seconds=0):
        _ = [quick().fit(part, 0) for part in (corpus, other)]
    taken = kill_at(10**6)
    with checkpoints_in(tmp_path / "fit"):
        fitted = [quick().fit(part, 0) for part in (corpus, other)]
    assert len(taken) == 20 - 9
    for one, same in zip(fitted, undisturbed, strict=True):
        assert_same(one, same)


def test_what_killed_processes_took_is_part_of_what_a_fit_took(corpus, tmp_path, kill_at, monkeypatch):
    # A clock of its own: each look at it is a second later.
    monkeypatch.setattr(usage, "time", SimpleNamespace(perf_counter=count().__next__, process_time=count().__next__))
    took = []
    for step in (6, 9, 10**6):
        kill_at(step)
        with suppress(KilledError), checkpoints_until_done(tmp_path / "fit") as spent:
            checkpoints._place.get().every_seconds = 0
            try:
                quick().fit(corpus, 0)
            finally:
                took.append(spent())
    # A look for each checkpoint, of which five and eight were written before a kill, and one at the end.
    for clock in ("seconds", "cpu_seconds"):
        # To rounding: what programs took that other tests of this process ran is added, and taken away again.
        assert [getattr(found, clock) for found in took] == pytest.approx([6, 5 + 9, 5 + 8 + 8])
    assert not (tmp_path / "fit").exists()


def test_checkpoints_are_written_now_and_then_and_only_where_asked_for(corpus, tmp_path):
    with checkpoints_in(tmp_path / "fit", every_seconds=3600):
        quick().fit(corpus, 0)
    quick().fit(corpus, 0)
    assert not [*(tmp_path / "fit").iterdir()]


def test_a_disk_that_refuses_a_checkpoint_does_not_end_the_training(corpus, tmp_path, monkeypatch, caplog):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    undisturbed = quick().fit(corpus, 0)
    with caplog.at_level(logging.WARNING), checkpoints_in(tmp_path / "fit", every_seconds=0):
        assert_same(quick().fit(corpus, 0), undisturbed)
    assert "No space left on device): the training goes on without it" in caplog.text
