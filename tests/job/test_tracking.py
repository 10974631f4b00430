"""A job is logged where it is asked for, and goes on where that fails."""

import dataclasses
import importlib.util
import json
import shutil

import pytest
import torch
from fakes import named_source, write_task

from scalepred.errors import UsageError
from scalepred.files import sha256
from scalepred.job.choose import choose_scale
from scalepred.job.options import DataOptions, JobOptions, NetworkOptions, check_together
from scalepred.job.setup import set_up
from scalepred.job.to_mlflow import EXPERIMENT, RUN
from scalepred.job.to_tensorboard import as_code
from scalepred.job.tools import Tools
from scalepred.job.tracking import check_can_log, finetune_logged, named
from scalepred.recipe import STAGES, Recipe
from scalepred.training.rates import epoch_rates

pytestmark = [
    pytest.mark.slow,  # as a whole, to keep the quick tests under a minute
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the libraries among themselves
]
NEEDS_TENSORBOARD = pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="needs tensorboard")
NEEDS_MLFLOW = pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs mlflow")

RECIPE = Recipe(epochs=3, image_px=16, batch_size=8, schedule="cosine")
HOSTILE = ("<script>alert(1)</script>\n# x", "'; DROP TABLE runs; -- ü🐈")


class StoppedError(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    data = write_task(tmp_path_factory.mktemp("data") / "birds", n=20)
    tools = Tools(source=named_source(), recipe=RECIPE, recipe_name="quick", device=torch.device("cpu"), asked=None)
    made = dataclasses.replace(set_up(data, tools, DataOptions()), dtype=torch.float32)
    return dataclasses.replace(made, task=dataclasses.replace(made.task, classes=HOSTILE))


def job(setup, output, *log_to, on_epoch=None, tell=None, **options):
    wanted = JobOptions(scale=2.0, log_to=log_to, checkpoint_seconds=0.0, **options)
    told = []
    prediction = choose_scale(setup, 2.0)
    done = finetune_logged(setup, prediction, wanted, output=output, on_epoch=on_epoch, tell=tell or told.append)
    return done, told


def stop_after(last):
    def stop(epoch, _):
        if epoch == last:
            raise StoppedError

    return stop


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return read


def client(uri):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def runs_in(uri):
    store = client(uri)
    return store.search_runs([store.get_experiment_by_name(EXPERIMENT).experiment_id])


# --- TensorBoard ------------------------------------------------------------------------------------------------------


@NEEDS_TENSORBOARD
def test_tensorboard_has_losses_rates_results_and_facts(setup, tmp_path):
    done, told = job(setup, tmp_path / "model", f"tensorboard:{tmp_path / 'logs'}", refit=True)
    (folder,) = (tmp_path / "logs").iterdir()
    assert folder.name == f"model-{done.run.run_id[:8]}"
    read = events(folder)
    losses = [(each.step, each.value) for each in read.Scalars("train_loss")]
    assert losses == [(at, pytest.approx(loss)) for at, loss in enumerate(done.run.epoch_losses, start=1)]
    assert len(read.Scalars("refit/train_loss")) == 3
    rates = epoch_rates(RECIPE, 2.0, n_train=setup.task.record.n_train)
    for at, stage in enumerate(STAGES):
        assert [each.value for each in read.Scalars(f"rate/{stage}")] == pytest.approx([row[at] for row in rates])
    assert read.Scalars("final/test_accuracy")[0].value == pytest.approx(done.test_accuracy)
    assert read.Scalars("final/seconds/total")[0].value > 0
    text = read.Tensors("job/text_summary")[0].tensor_proto.string_val[0].decode()
    facts = json.loads(text)
    assert json.loads(facts["classes"]) == list(HOSTILE)
    assert (facts["run_id"], facts["scale"], facts["recipe.schedule"]) == (done.run.run_id, "2.0", "cosine")
    assert json.loads(read.Tensors("model/text_summary")[0].tensor_proto.string_val[0])["model"] == str(done.output)
    assert told == []


def test_facts_are_code_in_which_no_name_is_markdown():
    text = as_code({"a": HOSTILE[0]})
    assert all(line.startswith("    ") for line in text.split("\n"))
    assert json.loads(text) == {"a": HOSTILE[0]}


@NEEDS_TENSORBOARD
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_folder_that_is_lost_in_mid_training_costs_a_note(setup, tmp_path):
    alone, _ = job(setup, tmp_path / "alone")

    def lose(epoch, _):
        if epoch == 1:
            (folder,) = (tmp_path / "logs").iterdir()
            shutil.rmtree(folder)
            folder.write_text("in the way")

    done, told = job(setup, tmp_path / "model", f"tensorboard:{tmp_path / 'logs'}", on_epoch=lose)
    assert len(told) == 1
    assert told[0].startswith(f"tensorboard:{tmp_path / 'logs'} can't be logged to any more, and the job goes on: ")
    assert done.run.epoch_losses == alone.run.epoch_losses
    assert sha256(tmp_path / "model" / "model.safetensors") == sha256(tmp_path / "alone" / "model.safetensors")


@NEEDS_TENSORBOARD
def test_a_folder_that_can_not_be_made_is_refused_before_training(setup, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"tensorboard:.*file can't be logged to: .* Give another --log-to, or none"):
        job(setup, tmp_path / "model", f"tensorboard:{tmp_path / 'file'}", on_epoch=stop_after(1))


# --- MLflow -----------------------------------------------------------------------------------------------------------


@NEEDS_MLFLOW
def test_mlflow_has_losses_rates_results_and_facts(setup, tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    done, told = job(setup, tmp_path / "model", f"mlflow:{uri}")
    (run,) = runs_in(uri)
    assert (run.info.status, run.info.run_name, run.data.tags[RUN]) == ("FINISHED", "model", done.run.run_id)
    assert json.loads(run.data.params["classes"]) == list(HOSTILE)
    assert (run.data.params["scale"], run.data.params["recipe.schedule"]) == ("2.0", "cosine")
    assert run.data.tags["scalepred.model"] == str(done.output)
    assert run.data.metrics["test_accuracy"] == done.test_accuracy
    history = client(uri).get_metric_history(run.info.run_id, "train_loss")
    assert [(each.step, each.value) for each in history] == list(enumerate(done.run.epoch_losses, start=1))
    assert len(client(uri).get_metric_history(run.info.run_id, "rate/head")) == 3
    assert told == []


@NEEDS_MLFLOW
def test_a_job_that_goes_on_goes_on_in_its_run_of_mlflow_and_another_has_its_own(setup, tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with pytest.raises(StoppedError):
        job(setup, tmp_path / "model", f"mlflow:{uri}", on_epoch=stop_after(2))
    assert [run.info.status for run in runs_in(uri)] == ["KILLED"]
    done, _ = job(setup, tmp_path / "model", f"mlflow:{uri}")
    (run,) = runs_in(uri)
    history = client(uri).get_metric_history(run.info.run_id, "train_loss")
    assert [each.value for each in history] == done.run.epoch_losses
    assert run.info.status == "FINISHED"
    job(setup, tmp_path / "again", f"mlflow:{uri}")
    assert len(runs_in(uri)) == 2


@NEEDS_MLFLOW
def test_a_store_that_fails_in_mid_training_costs_a_note(setup, tmp_path):
    file = tmp_path / "mlflow.db"
    alone, _ = job(setup, tmp_path / "alone")

    def spoil(epoch, _):
        if epoch == 1:
            file.write_bytes(b"no database" * 1000)

    done, told = job(setup, tmp_path / "model", f"mlflow:sqlite:///{file}", on_epoch=spoil)
    assert len(told) == 1
    assert told[0].startswith(f"mlflow:sqlite:///{file} can't be logged to any more, and the job goes on: ")
    assert done.run.epoch_losses == alone.run.epoch_losses
    assert (tmp_path / "model" / "model.safetensors").exists()


@NEEDS_MLFLOW
@pytest.mark.parametrize("uri", ["nonsense://x", "sqlite:///{}/x.db"])
def test_a_store_that_can_not_be_opened_is_refused_before_training(setup, tmp_path, uri):
    (tmp_path / "file").write_text("")
    uri = uri.format(tmp_path / "file")
    with pytest.raises(UsageError, match=r"mlflow:.* can't be logged to: .* Give another --log-to, or none\."):
        job(setup, tmp_path / "model", f"mlflow:{uri}", on_epoch=stop_after(1))


# --- what is refused before anything is read --------------------------------------------------------------------------


@pytest.mark.parametrize("destination", ["", "tensorboard", "tensorboard:", "wandb:x", "a/folder"])
def test_a_destination_that_is_none_is_refused(destination):
    with pytest.raises(UsageError, match=r"log_to must be tensorboard:FOLDER or mlflow:URI, not "):
        check_can_log([destination])


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"^mlflow:http://h/x needs the extra `mlflow`: pip install 'scalepred\[mlf"):
        check_can_log(["mlflow:http://user:secret@h/x"])


def test_a_password_is_not_shown():
    assert named("mlflow:https://user:pass@host:5000/x") == "mlflow:https://host:5000/x"
    assert named("tensorboard:a folder") == "tensorboard:a folder"


def test_a_probe_has_nothing_to_log():
    with pytest.raises(UsageError, match="A linear probe has no epochs to log: leave out --log-to"):
        check_together(NetworkOptions(), JobOptions(scale="probe", log_to=("tensorboard:x",)))
