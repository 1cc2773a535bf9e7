import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from sta_tsn.datasets import UCF101, VideoRecord
from sta_tsn.errors import ConfigError
from sta_tsn.video import (
    ClipDataset,
    SeededSampler,
    SegmentSampler,
    VideoDataModule,
    center_crop,
    crop_masks,
    ten_crops,
    training_augmentation,
)
from sta_tsn.video.augment import MultiScaleCornerCrop
from sta_tsn.video.crops import (
    RGB_SCALES,
    THIRTEEN_PLACES,
    TSN_FRAME,
    as_planes,
    crop_and_resize,
    crop_box,
    five_crops,
)


def gradient(height=256, width=340) -> np.ndarray:
    """Red is x, green is y (both scaled to 0..255)."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, width).astype(np.uint8)[None, :]
    image[..., 1] = np.linspace(0, 255, height).astype(np.uint8)[:, None]
    return image


def test_crop_of_the_resized_frame_is_exact():
    image = gradient()
    assert (crop_and_resize(image, (58, 16, 224, 224), 224) == image[16:240, 58:282]).all()


@pytest.mark.parametrize("height, width", [(120, 160), (240, 320), (720, 1280)])
def test_boxes_follow_the_source_size(height, width):
    """The same place of the scene, whatever the source's resolution."""
    reference = crop_and_resize(gradient(), (58, 16, 224, 224), 112).astype(int)
    assert (
        np.abs(crop_and_resize(gradient(height, width), (58, 16, 224, 224), 112) - reference).max()
        <= 4
    )


def test_thirteen_positions_inside_the_frame():
    boxes = [crop_box(TSN_FRAME, place, 192, 168) for place in THIRTEEN_PLACES]
    offsets = [(x, y) for x, y, _, _ in boxes]
    assert len(set(offsets)) == 13
    assert all(0 <= x <= 340 - 192 and 0 <= y <= 256 - 168 for x, y in offsets)
    assert {(0, 0), (148, 0), (0, 88), (148, 88), (74, 44)} <= set(offsets)


def test_scales_differ_by_one_step_at_most():
    crop = MultiScaleCornerCrop()
    crop.set_random_seed(0)
    seen = set()
    for _ in range(300):
        width, height = crop.get_params()["crop_size"]
        steps = [RGB_SCALES.index(round(side / 256, 4)) for side in (width, height)]
        assert abs(steps[0] - steps[1]) <= 1
        seen.add(tuple(steps))
    assert len(seen) == 10


def test_one_draw_for_all_frames_and_the_seed_decides():
    frames = np.stack([gradient(240, 320)] * 5)
    augment = training_augmentation(224)

    def draw(seed):
        augment.set_random_seed(seed)
        return augment(images=frames)["images"]

    results = [draw(seed) for seed in range(12)]
    assert all((result == result[:1]).all() for result in results)
    assert (draw(3) == results[3]).all()
    assert len({result.tobytes() for result in results}) > 8
    flipped = [result[0, 112, 0, 0] > result[0, 112, -1, 0] for result in results]
    assert 0 < sum(flipped) < 12


def test_ten_crops_are_centre_and_corners_and_their_mirrors():
    frame = gradient()
    crops = ten_crops(frame[None], 224)
    assert crops.shape == (10, 1, 224, 224, 3)
    assert (crops[5:] == crops[:5, :, :, ::-1]).all()
    assert (crops[0] == center_crop(frame[None], 224)).all()
    for crop, (x, y) in zip(crops[1:5, 0], [(0, 0), (116, 0), (0, 32), (116, 32)], strict=True):
        assert (crop == frame[y : y + 224, x : x + 224]).all()


def test_without_mirror_nothing_is_flipped(index_video):
    frames = np.stack([gradient(240, 320)] * 2)
    augment = training_augmentation(224, mirror=False)
    for seed in range(12):
        augment.set_random_seed(seed)
        seen = augment(images=frames)["images"]
        assert seen[0, 112, 0, 0] < seen[0, 112, -1, 0]
    assert (five_crops(frames, 224) == ten_crops(frames, 224)[:5]).all()
    record = VideoRecord("a/b", index_video, (0,), "b", num_frames=50)
    assert (
        ClipDataset([record], 3, SegmentSampler(3, 2), "ten", 224, mirror=False)[(0, 0)][
            "clips"
        ].shape[0]
        == 5
    )


def test_masks_are_cropped_as_the_frames_are():
    """The mask is a threshold of the picture: its crop must be that of the picture's crop."""
    frames = np.stack([gradient(), gradient()[::-1]])
    masks = frames[..., 0] > 100
    cropped = crop_masks(masks, [1, 0, 1], 224)
    seen = center_crop(frames[[1, 0, 1]], 224)[..., 0] > 100
    assert cropped.shape == seen.shape
    assert cropped.dtype == np.float32
    assert np.abs(cropped - seen).mean() < 0.01
    small = crop_masks(masks, [0], 7)
    assert small.shape == (1, 7, 7)
    assert ((small > 0) & (small < 1)).any()  # shares, not picks


def test_clip_dataset_shapes_and_repeatability(index_video):
    record = VideoRecord("a/b", index_video, (2, 0), "b", num_frames=50)
    for crop, views in (("augment", 1), ("center", 1), ("ten", 10)):
        dataset = ClipDataset(
            [record], 4, SegmentSampler(3, 4, training=crop == "augment"), crop, 32
        )
        sample = dataset[0, 5]
        assert sample["clips"].shape == (views, 3, 4, 3, 32, 32)
        assert sample["clips"].dtype == torch.uint8
        assert sample["labels"].tolist() == [1, 0, 1, 0]
        assert (sample["clips"][:, :, :, 0, 0, 0] == 5 * sample["frame_indices"]).all()
        assert torch.equal(sample["clips"], dataset[0, 5]["clips"])


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_testing_deals_every_video_out_once(world_size):
    dealt = [
        index
        for rank in range(world_size)
        for index, _ in SeededSampler(7, 0, None, rank, world_size)
    ]
    assert sorted(dealt) == list(range(7))


def test_a_step_is_made_of_passes_that_fit(mini_ucf101, tmp_path):
    data = VideoDataModule(
        UCF101(str(mini_ucf101)), str(tmp_path / "m.csv"), batch_size=12, videos_per_pass=2
    )
    data.prepare_data()
    data.setup()
    assert [data.passes_per_step(devices) for devices in (1, 2, 6, 12)] == [6, 3, 1, 1]
    assert data.train_dataloader().batch_size == 2
    data.batch_size = 1000  # more than there are: no pass of a step is missing
    assert data.passes_per_step(1) == -(-len(data.videos.train) // 2)
    data.batch_size, data.videos_per_pass = 16, 12  # two passes of 8, not of 12
    assert data.train_dataloader().batch_size == 8
    data.batch_size, data.videos_per_pass = 16, 3  # eight of 2: six of 3 would be 18 videos
    assert data.train_dataloader().batch_size == 2
    assert data.passes_per_step(1) == -(-min(16, len(data.videos.train)) // 2)
    data.batch_size, data.videos_per_pass = 1000, None
    assert data.passes_per_step(4) == 1
    assert data.train_dataloader().batch_size == 1000


@pytest.mark.parametrize("setting", [{"batch_size": 0}, {"videos_per_pass": 0}])
def test_numbers_of_videos_are_at_least_one(mini_ucf101, tmp_path, setting):
    with pytest.raises(ConfigError, match=f"data.{next(iter(setting))}=0"):
        VideoDataModule(UCF101(str(mini_ucf101)), str(tmp_path / "m.csv"), **setting)


def test_no_process_is_left_without_a_video():
    """Lightning hangs where some processes have batches and others have none."""
    samplers = [SeededSampler(2, 0, None, rank, 5) for rank in range(5)]
    assert [[index for index, _ in sampler] for sampler in samplers] == [
        [0],
        [1],
        [0],
        [1],
        [0],
    ]
    assert len(samplers[4]) == 1
    assert list(SeededSampler(0, 0, None, 1, 2)) == []


def test_training_order_depends_on_seed_and_epoch():
    def order(seed, epoch):
        sampler = SeededSampler(20, seed, num_draws=20)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)
    assert sorted(index for index, _ in order(0, 3)) == list(range(20))
    assert {seed for _, seed in order(0, 3)}.isdisjoint({seed for _, seed in order(0, 4)})


def test_training_gives_every_process_the_same_number():
    samplers = [SeededSampler(7, 0, 7, rank, 2) for rank in range(2)]
    assert (
        [len(list(sampler)) for sampler in samplers]
        == [4, 4]
        == [len(sampler) for sampler in samplers]
    )
    assert {index for sampler in samplers for index, _ in sampler} == set(range(7))


class Watcher(LightningModule):
    """Learns nothing; remembers which frames it was shown."""

    def __init__(self):
        super().__init__()
        self.model = torch.nn.Linear(1, 1)
        self.model.input_px = 32
        self.shown = []

    def training_step(self, batch: dict) -> torch.Tensor:
        self.shown.append((batch["index"].tolist(), batch["frame_indices"].tolist()))
        return self.model(torch.zeros(1)).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_resumed_run_sees_its_epochs_data_when_workers_load_it(mini_ucf101, tmp_path):
    """Lightning starts the workers of a resumed run before it tells the sampler the epoch."""

    def watch(epochs: int, resume: str | None = None) -> list:
        data = VideoDataModule(
            UCF101(str(mini_ucf101)), str(tmp_path / "manifest.csv"), batch_size=4, num_workers=1
        )
        quiet = {"logger": False, "enable_progress_bar": False, "use_distributed_sampler": False}
        saved = ModelCheckpoint(
            tmp_path, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True
        )
        trainer, watcher = (
            Trainer(
                accelerator="cpu",
                max_epochs=epochs,
                default_root_dir=tmp_path,
                callbacks=[saved],
                **quiet,
            ),
            Watcher(),
        )
        trainer.fit(watcher, datamodule=data, ckpt_path=resume, weights_only=True)
        return watcher.shown

    whole = watch(3)
    at_epochs_end = watch(3, str(tmp_path / "epoch=0.ckpt"))  # what a kill leaves
    assert len(at_epochs_end) == len(whole) - len(watch(1))
    assert at_epochs_end == whole[-len(at_epochs_end) :]


@pytest.mark.parametrize("height, width", [(320, 180), (180, 320), (240, 320), (256, 256)])
def test_squares_stay_square_where_proportions_are_kept(height, width):
    """A white square of a quarter of the short side in the middle, upright and wide videos."""
    side = min(height, width) // 4
    frame = np.zeros((height, width, 3), np.uint8)
    top = (height - side) // 2
    left = (width - side) // 2
    frame[top : top + side, left : left + side] = 255
    seen = center_crop(frame[None], 224, keep_proportions=True)[0, ..., 0] > 127
    expected = 256 / 4  # of 256 px on the short side, of which 224 are seen
    assert seen.any(0).sum() == pytest.approx(expected, abs=2)
    assert seen.any(1).sum() == pytest.approx(expected, abs=2)


def test_corner_crops_of_an_upright_video_reach_its_ends():
    frame = gradient(320, 180)
    crops = ten_crops(frame[None], 112, keep_proportions=True)
    top_left, bottom_right = crops[1, 0], crops[4, 0]
    assert top_left[0, 0, 1] < 5
    assert bottom_right[-1, -1, 1] > 250
    augment = training_augmentation(112, RGB_SCALES, keep_proportions=True)
    augment.set_random_seed(0)
    highest = {int(augment(images=frame[None])["images"][0][-1, -1, 1]) for _ in range(60)}
    assert max(highest) > 250


@pytest.mark.parametrize("channels", [1, 3, 20])
def test_planes_hold_what_the_pictures_hold(channels):
    """Mirrored ones too, whose rows lie in memory from right to left."""
    pictures = np.random.default_rng(0).integers(0, 255, (2, 5, 7, channels), dtype=np.uint8)
    for shown in (pictures, pictures[:, :, ::-1]):
        assert (as_planes(shown) == np.moveaxis(shown, -1, 1)).all()
