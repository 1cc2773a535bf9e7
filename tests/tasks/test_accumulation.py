"""A step made of several passes equals the same step in one pass, also at an epoch's end."""

import pytest
import torch
from pytorch_lightning import seed_everything
from tests_support import bare_trainer

from sta_tsn.datasets import UCF101
from sta_tsn.tasks import SpatialAttentionBackbone
from sta_tsn.video import VideoDataModule
from sta_tsn.video.datamodule import uneven_share


def weights_after_an_epoch(root, manifest, batch_size, videos_per_pass) -> torch.Tensor:
    """Return all trained weights after an epoch of 12 real videos."""
    seed_everything(0, verbose=False)
    data = VideoDataModule(
        UCF101(str(root)),
        str(manifest),
        num_segments=1,
        batch_size=batch_size,
        videos_per_pass=videos_per_pass,
        val_share=0.2,
        num_workers=0,
    )
    task = SpatialAttentionBackbone(
        data.classes,
        "test_resnet",
        weights="none",
        trained_batch_norms="none",
        dropout=0.0,
        lr=0.05,
        input_px=64,
    )
    trainer = bare_trainer(max_epochs=1, limit_val_batches=0)
    trainer.fit(task, data)
    assert len(data.videos.train) == 12
    assert trainer.global_step == 2
    return torch.cat([p.detach().flatten() for p in task.parameters() if p.requires_grad])


@pytest.mark.parametrize(
    ("batch_size", "videos_per_pass"),
    [
        (8, 2),  # the last step has two passes of four
        (9, 3),  # the last step has one pass of three
        (10, 5),  # the last step has one pass of two, of two videos in place of five
    ],
)
def test_the_last_step_counts_each_video_alike(mini_ucf101, tmp_path, batch_size, videos_per_pass):
    manifest = tmp_path / "manifest.csv"
    whole = weights_after_an_epoch(mini_ucf101, manifest, batch_size, None)
    in_passes = weights_after_an_epoch(mini_ucf101, manifest, batch_size, videos_per_pass)
    torch.testing.assert_close(in_passes, whole, rtol=1e-4, atol=1e-6)


def test_a_step_that_devices_cannot_share_evenly_says_its_size():
    assert uneven_share(128, 2) == ""
    assert "a step has 126 videos, 42 on each" in uneven_share(128, 3)
    assert "a step has 256 videos, 1 on each" in uneven_share(128, 256)
