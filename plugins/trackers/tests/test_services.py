"""The services themselves, with nobody at the other end: what a run leaves with each library's offline store."""

from __future__ import annotations

import sys

import pytest
import torch
from sslkit_trackers import MLflow, TensorBoardImages, Wandb
from sslkit_trackers.tensorboard_images import image_grid

from sslkit import SslkitError


def test_mlflow_has_recipe_numbers_and_scores(watched, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is in the extra sslkit-trackers[mlflow]")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = (tmp_path / "store").as_uri()
    folder = watched(f'{{ name = "trackers.mlflow", tracking_uri = "{store}", every_steps = 1 }}')
    client = mlflow.MlflowClient(tracking_uri=store)
    (found,) = client.search_runs([client.get_experiment_by_name("sslkit").experiment_id])
    assert found.info.run_name == "watched"
    assert found.info.status == "FINISHED"
    assert found.data.tags["sslkit.folder"] == str(folder.resolve())
    assert found.data.params["pretrain.batch_size"] == "32"
    assert found.data.params["evaluate.0.name"] == "builtin.knn"
    losses = client.get_metric_history(found.info.run_id, "pretrain/loss")
    assert [metric.step for metric in losses] == [1, 2, 3, 4]
    assert any(key.startswith("evaluate/") for key in found.data.metrics)


def test_wandb_keeps_a_run_offline(watched, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is in the extra sslkit-trackers[wandb]")
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = watched('{ name = "trackers.wandb", project = "p", mode = "offline", every_steps = 1 }')
    (kept,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    content = kept.read_bytes()
    assert b"pretrain/loss" in content
    assert b"batch_size" in content
    assert b"evaluate/builtin.knn" in content


def test_images_of_each_epoch_are_in_tensorboard(watched):
    pytest.importorskip("tensorboard", reason="tensorboard is in the extra sslkit[tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = watched('{ name = "trackers.tensorboard_images", num_images = 3 }')
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    images = events.Images("views")
    assert [image.step for image in images] == [2, 4]
    assert (images[0].width, images[0].height) == (2 * 18, 3 * 18)


def test_a_grid_has_a_row_for_each_image_and_a_column_for_each_view():
    large, small = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 2, 2)
    large[1] = 0.5
    grid = image_grid([large, small], None)
    assert grid.shape == (3, 12, 12)
    assert grid[:, 1:5, 1:5].eq(0).all()
    assert grid[:, 7:11, 1:5].eq(0.5).all()
    assert grid[:, 1:5, 7:11].eq(1).all()
    assert grid[:, :, 5:7].eq(0).all()


def test_a_grid_shows_pixels_as_they_were_before_normalisation():
    pixels = torch.rand(1, 3, 4, 4)
    mean, deviation = (0.1, 0.2, 0.3), (0.5, 0.4, 0.3)
    normalised = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(deviation).view(3, 1, 1)
    torch.testing.assert_close(image_grid([normalised], (mean, deviation))[:, 1:5, 1:5], pixels[0])


@pytest.mark.parametrize(
    ("module", "made", "options"),
    [
        ("wandb", Wandb, {"project": "p"}),
        ("mlflow", MLflow, {}),
        ("torch.utils.tensorboard", TensorBoardImages, {}),
    ],
)
def test_a_missing_library_is_one_line_with_what_to_type(monkeypatch, module, made, options):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SslkitError, match=r"needs the package \w+; type: pip install \"sslkit-trackers\["):
        made(**options)
