"""STA-LSTM: files, batches, network, loss, joint training."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch.nn import functional as F

from sta_tsn.datasets import JHMDB, SBU, JHMDBJoints, read_ntu_skeleton, read_sbu_skeleton
from sta_tsn.errors import ConfigError, DatasetError
from sta_tsn.models import STALSTM, ActionOutput
from sta_tsn.models.sta_lstm import FrameAttention, JointAttention
from sta_tsn.skeletons import SkeletonDataModule, normalised, padded_batch
from sta_tsn.skeletons.augment import centred, mirrored, scaled, smoothed, swapped, turned
from sta_tsn.tasks import SkeletonAttention
from sta_tsn.tasks.skeleton import joint_training, regularized_loss

SKELETON = SBU.skeleton
CLASSES = [f"class {k}" for k in range(8)]


def sbu_line(frame: int = 1, columns: int = 90, value: str = "0.5") -> str:
    return ",".join([str(frame), *[value] * columns])


# --- files


def test_sbu_coordinates_are_metres(tmp_path):
    """The picture's centre is the origin; the first joint lies a quarter of it right and above."""
    path = tmp_path / "skeleton_pos.txt"
    path.write_text(",".join(["55", "0.75", "0.25", "2", *["0.5"] * 87]) + "\n")
    sequence = read_sbu_skeleton(path)
    assert sequence.shape == (1, 2, 15, 3)
    assert sequence.dtype == np.float32
    np.testing.assert_allclose(sequence[0, 0, 0], [0.64, 0.48, 2.56], rtol=1e-6)
    np.testing.assert_allclose(sequence[0, 1, 14], [0, 0, 0.64], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        (sbu_line() + "\n" + sbu_line(2, 87), r"line 2: 88 columns, 91 are expected \(29 joints"),
        (sbu_line(1, 45), r"line 1: 46 columns, 91 are expected \(15 joints in place of 2 x 15"),
        (sbu_line(1, 120), r"\(40 joints in place of 2 x 15"),
        (
            sbu_line() + "\n" + sbu_line(2, 89) + ",nan",
            "line 2: 'nan' in column 91 is not a finite number",
        ),
        (sbu_line(1, 89) + ",x7", "line 1: 'x7' in column 91"),
        (sbu_line(1, 89) + ",inf", "'inf' in column 91"),
        (sbu_line(1, 89) + ",", "'' in column 91"),
        (sbu_line(1, 89) + ",1e300", "'1e300' in column 91 is not a finite number"),
        (sbu_line(7) + "\n" + sbu_line(9), "line 2: frame 9 after frame 7"),
        (",".join(["1", *["0"] * 45, *["0.5"] * 45]), "line 1: every joint of person 1 is 0"),
        (",".join(["1", *["0.5"] * 45, *["0"] * 45]), "every joint of person 2 is 0"),
    ],
)
def test_damaged_sbu_files(text, message, tmp_path):
    path = tmp_path / "skeleton_pos.txt"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message) as error:
        read_sbu_skeleton(path)
    assert str(path) in str(error.value)


def ntu_body(identity: str, x: float, joints: int = 25) -> list[str]:
    return [
        f"{identity} 0 1 1 1 1 0 0.01 -0.2 2",
        str(joints),
        *[f"{x} 0.2 3.1 250 190 1000 500 -0.2 0.1 0.9 -0.02 2"] * joints,
    ]


def ntu_file(frames: list[list[list[str]]]) -> list[str]:
    return [
        str(len(frames)),
        *[
            line
            for bodies in frames
            for line in [str(len(bodies)), *(x for body in bodies for x in body)]
        ],
    ]


def test_ntu_persons_are_told_apart_by_their_tracking_id(tmp_path):
    path = tmp_path / "S001C001P001R001A050.skeleton"
    path.write_text(
        "\n".join(ntu_file([[ntu_body("72", 1)], [ntu_body("99", 5), ntu_body("72", 2)], []]))
    )
    sequence = read_ntu_skeleton(path)
    assert sequence.shape == (3, 2, 25, 3)
    np.testing.assert_allclose(sequence[:2, 0, 7], [[1, 0.2, 3.1], [2, 0.2, 3.1]], rtol=1e-6)
    np.testing.assert_allclose(sequence[1, 1, 24, 0], 5)
    assert np.isnan(sequence[0, 1]).all()
    assert np.isnan(sequence[2]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [], "the file is empty"),
        (lambda lines: lines[:-1], "the file ends where a joint is expected"),
        (lambda lines: [*lines, "1"], "'1' after the last of 1 frames"),
        (lambda lines: ["two", *lines[1:]], "line 1: 'two' is not a number of frames"),
        (
            lambda lines: [*lines[:4], "0.1 nan " + "0 " * 10, *lines[5:]],
            "line 5: 'nan' in column 2",
        ),
        (
            lambda lines: [*lines[:4], "0.1 0.2 0.3", *lines[5:]],
            "line 5: 3 values in place of the 12 of a joint",
        ),
        (lambda lines: ntu_file([[ntu_body("1", 0, joints=20)]]), "20 joints, 25 are expected"),
        (lambda lines: ntu_file([[ntu_body("1", 0)] * 2]), "tracking id 1 is in this frame twice"),
        (lambda lines: ["2", "0", "0"], "nobody was tracked in any of 2 frames"),
    ],
)
def test_damaged_ntu_files(change, message, tmp_path):
    path = tmp_path / "a.skeleton"
    path.write_text("\n".join(change(ntu_file([[ntu_body("1", 0)]]))))
    with pytest.raises(DatasetError, match=message):
        read_ntu_skeleton(path)


# --- dataset


def test_folds_of_sbu(mini_sbu):
    dataset = SBU(str(mini_sbu))
    tested = [record.id for fold in range(1, 6) for record in dataset.records(fold).test]
    assert len(tested) == len(set(tested)) == len(dataset.listed()) == 21 * 8
    assert {record.group for record in dataset.records(5).test} == {
        "s04s02",
        "s04s03",
        "s04s06",
        "s06s02",
        "s06s03",
    }
    for fold in range(1, 6):
        official = dataset.records(fold)
        assert len(official.train) + len(official.test) == 168
        assert not {record.group for record in official.train} & {
            record.group for record in official.test
        }


def test_what_is_wrong_in_an_sbu_folder(mini_sbu_copy):
    (mini_sbu_copy / "s01s02" / "09").mkdir()
    with pytest.raises(DatasetError, match=r"class '09' is not one of 01 to 08"):
        SBU(str(mini_sbu_copy)).records(1)
    (mini_sbu_copy / "s01s02" / "09").rmdir()
    (mini_sbu_copy / "s07s03").rename(mini_sbu_copy / "s07s30")
    with pytest.raises(DatasetError, match=r"s07s03, which does not exist"):
        SBU(str(mini_sbu_copy)).records(1)


def test_damaged_sequences_are_named_and_left_out_of_training_only(mini_sbu_copy, capsys):
    damaged = mini_sbu_copy / "s02s03" / "01" / "001" / "skeleton_pos.txt"  # fold 2
    damaged.write_text(sbu_line(1, 45))
    data = SkeletonDataModule(SBU(str(mini_sbu_copy)), split=1)
    data.setup()
    printed = capsys.readouterr().out
    assert "46 columns" in printed
    assert (
        "SBU split 1: 136 training and 32 test videos are listed, 227 and 55 are published"
        in printed
    )
    assert len(data.videos.train) + len(data.videos.val) + len(data.videos.test) == 167
    with pytest.raises(DatasetError, match="1 test videos of split 2 do not decode"):
        SkeletonDataModule(SBU(str(mini_sbu_copy)), split=2).setup()


def test_validation_is_carved_out_by_pair(mini_sbu):
    data = SkeletonDataModule(SBU(str(mini_sbu)), split=1)
    data.setup()
    sides = [
        {record.group for record in side}
        for side in (data.videos.train, data.videos.val, data.videos.test)
    ]
    assert data.videos.val
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def test_the_real_sbu(shared_data):
    dataset = SBU(str(shared_data / "sbu"))
    records = dataset.listed()
    assert len(records) == 282
    sequences = [dataset.read(record.path) for record in records]
    head_to_torso = np.concatenate(
        [np.linalg.norm(one[:, :, 0] - one[:, :, 2], axis=-1).flatten() for one in sequences]
    )
    # In metres.
    assert np.quantile(head_to_torso, 0.01) > 0.3
    assert np.quantile(head_to_torso, 0.99) < 0.55
    nearest = {label: [] for label in range(8)}
    for record, one in zip(records, sequences, strict=True):
        apart = np.linalg.norm(one[:, 0, 2] - one[:, 1, 2], axis=-1)
        nearest[record.labels[0]].append(apart.min())
    closest = min(nearest, key=lambda label: np.mean(nearest[label]))
    assert dataset.classes[closest] == "hugging"


# --- JHMDB's joints


def write_joints(path: Path, **content: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, content)
    return path


def test_jhmdb_joints_are_upright(tmp_path, mini_jhmdb):
    positions = np.random.default_rng(0).uniform(0, 200, (2, 15, 12))
    path = write_joints(tmp_path / "joint_positions.mat", pos_img=positions)
    sequence = JHMDBJoints(str(mini_jhmdb)).read(path)
    assert sequence.shape == (12, 1, 15, 3)
    assert not sequence[..., 2].any()
    np.testing.assert_allclose(
        sequence[3, 0, 7, :2], positions[:, 7, 3] * [1, -1], rtol=1e-6
    )  # pictures count y from the top
    skeleton = JHMDBJoints.skeleton
    assert sorted(end for _, end in skeleton.bones) == [
        0 + one for one in range(1, 15)
    ]  # a tree: every joint hangs on one bone
    assert skeleton.joints[skeleton.mirrored[skeleton.joints.index("left_wrist")]] == "right_wrist"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"pos_world": np.zeros((2, 15, 4))}, "no joints can be read"),
        ({"pos_img": np.zeros((2, 14, 4))}, r"\(2, 14, 4\); \(2, 15, frames\) is expected"),
        ({"pos_img": np.ones((2, 15, 4)) * [1, 1, 0, 1]}, "every joint of frame 3 is 0"),
        (
            {"pos_img": np.where(np.arange(120).reshape(2, 15, 4) == 9, np.nan, 1)},
            "face in frame 2 is",
        ),
    ],
)
def test_damaged_jhmdb_joints(content, message, tmp_path, mini_jhmdb):
    path = write_joints(tmp_path / "joint_positions.mat", **content)
    with pytest.raises(DatasetError, match=message):
        JHMDBJoints(str(mini_jhmdb)).read(path)


def test_jhmdb_joints_have_the_videos_classes_and_splits(shared_data):
    joints, videos = JHMDBJoints(str(shared_data / "jhmdb")), JHMDB(str(shared_data / "jhmdb"))
    assert joints.classes == videos.classes
    for split in (1, 2, 3):
        ours, theirs = joints.records(split), videos.records(split)
        assert [record.id for record in ours.videos] == [record.id for record in theirs.videos]
    assert ours.test[0].path.parts[-4:-2] == ("joint_positions", "brush_hair")
    assert ours.test[0].path.name == "joint_positions.mat"


# --- augmentation


@pytest.fixture
def sequence() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(12, 2, 15, 3)).astype(np.float32)


def test_mirror_swaps_sides(sequence):
    seen = mirrored(sequence, SKELETON)
    left, right = SKELETON.joints.index("left_hand"), SKELETON.joints.index("right_hand")
    np.testing.assert_array_equal(seen[:, :, left], sequence[:, :, right] * [-1, 1, 1])
    np.testing.assert_array_equal(mirrored(seen, SKELETON), sequence)
    np.testing.assert_array_equal(swapped(sequence)[:, 0], sequence[:, 1])


def test_normalised_sequences_do_not_depend_on_place_and_size(sequence):
    away = 1.7 * sequence + np.float32([3, -1, 2])
    ours, theirs = (normalised(one, SKELETON, True, True, 5) for one in (sequence, away))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert abs(centred(away, SKELETON)[:, :, SKELETON.torso].mean()) < 1e-5
    ends = scaled(sequence, SKELETON)[:, :, list(SKELETON.bones)]
    assert np.linalg.norm(ends[..., 0, :] - ends[..., 1, :], axis=-1).mean() == pytest.approx(
        1, abs=1e-5
    )
    np.testing.assert_array_equal(normalised(sequence, SKELETON, False, False, 0), sequence)


def test_smoothing_keeps_parabolas_and_damps_noise(sequence):
    time = np.arange(12, dtype=np.float32)[:, None, None, None]
    np.testing.assert_allclose(
        smoothed(time**2 + sequence[:1], 5), time**2 + sequence[:1], atol=1e-3
    )
    assert smoothed(sequence, 5).var() < 0.7 * sequence.var()
    assert smoothed(sequence[:4], 5).shape == sequence[:4].shape
    assert smoothed(sequence[:2], 5).shape == sequence[:2].shape


def test_turning_keeps_heights_and_distances(sequence):
    np.testing.assert_allclose(
        turned(sequence, 90) @ np.float32([[0, 0, -1], [0, 1, 0], [1, 0, 0]]), sequence, atol=1e-5
    )
    np.testing.assert_allclose(
        np.linalg.norm(turned(sequence, 33), axis=-1), np.linalg.norm(sequence, axis=-1), rtol=1e-5
    )


def test_augmentation_depends_on_the_seed_alone_and_is_off_in_testing(mini_sbu):
    data = SkeletonDataModule(SBU(str(mini_sbu)), turn_degrees=20)
    data.setup()
    train, test = data.train_dataloader().dataset, data.test_dataloader().dataset
    views = [train[(0, seed)]["joints"] for seed in range(8)]
    assert torch.equal(train[(0, 3)]["joints"], views[3])
    assert len({view.sum().item() for view in views}) == 8
    assert torch.equal(test[(0, 1)]["joints"], test[(0, 2)]["joints"])


def test_views_that_would_be_the_same_are_no_views(mini_sbu):
    assert (
        SkeletonDataModule(SimpleNamespace(num_persons=1), average_views=True).swap_persons is False
    )
    with pytest.raises(ConfigError, match="average_views: there is one view only without"):
        SkeletonDataModule(SBU(str(mini_sbu)), average_views=True, mirror=False, swap_persons=False)


def test_averaged_views_make_an_answer_that_mirror_and_order_of_persons_do_not_change(mini_sbu):
    data = SkeletonDataModule(SBU(str(mini_sbu)), average_views=True)
    data.setup()
    loader = data.test_dataloader()
    sequence, skeleton = loader.dataset.sequences[0], data.dataset.skeleton
    assert data.views(sequence).shape[1] == data.protocol["views"] == 4
    np.testing.assert_array_equal(data.views(sequence)[:, 0], sequence)
    task = SkeletonAttention(data.classes, data.num_joints, hidden_dim=8).eval()

    def answers() -> torch.Tensor:
        task.on_test_epoch_start()
        for batch in loader:
            task.test_step(batch)
        return torch.stack(
            [task.test_outputs[index]["scores"] for index in range(len(loader.dataset))]
        )

    first = answers()
    by_hand = [
        task.model(torch.from_numpy(view.copy()).flatten(1, 2)[None]).scores[0]
        for view in data.views(sequence).swapaxes(0, 1)
    ]
    torch.testing.assert_close(
        first[0], torch.stack(by_hand).mean(0).log_softmax(-1), rtol=1e-4, atol=1e-5
    )
    assert (by_hand[0] - by_hand[3]).abs().max() > 1e-3
    loader.dataset.sequences = [
        swapped(mirrored(one, skeleton)) for one in loader.dataset.sequences
    ]
    torch.testing.assert_close(answers(), first, rtol=1e-4, atol=1e-5)


def test_even_smoothing_windows_are_refused(mini_sbu):
    with pytest.raises(ConfigError, match="smoothing_frames=4"):
        SkeletonDataModule(SBU(str(mini_sbu)), smoothing_frames=4)


# --- network

ABLATIONS = [(False, False), (True, False), (False, True), (True, True)]


@pytest.mark.parametrize(("spatial", "temporal"), ABLATIONS)
def test_shapes_sums_and_gradients(spatial, temporal):
    torch.manual_seed(0)
    model = STALSTM(5, 30, hidden_dim=16, spatial_attention=spatial, temporal_attention=temporal)
    joints, lengths = torch.randn(4, 9, 30, 3), torch.tensor([9, 4, 7, 1])
    output = model(joints, lengths)
    assert output.scores.shape == (4, 5)
    if spatial:
        assert output.spatial_weights.shape == (4, 9, 30)
        torch.testing.assert_close(output.spatial_weights.sum(-1), torch.ones(4, 9))
    if temporal:
        assert output.temporal_weights.shape == (4, 9)
        assert (output.temporal_weights >= 0).all()
        assert all((output.temporal_weights[b, n:] == 0).all() for b, n in enumerate(lengths))
    assert (output.spatial_weights is None, output.temporal_weights is None) == (
        not spatial,
        not temporal,
    )
    output.scores.square().sum().backward()
    assert not [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]


@pytest.mark.parametrize(("spatial", "temporal"), ABLATIONS)
def test_padding_changes_nothing(spatial, temporal):
    torch.manual_seed(0)
    model = STALSTM(5, 30, spatial_attention=spatial, temporal_attention=temporal).eval()
    items = [
        {"joints": torch.randn(n, 30, 3), "labels": torch.zeros(5), "index": n}
        for n in (23, 7, 46, 1)
    ]
    batch = padded_batch(items)
    together = model(batch["joints"], batch["lengths"])
    garbage = model(batch["joints"] + 99 * (batch["joints"] == 0), batch["lengths"])
    torch.testing.assert_close(garbage.scores, together.scores, rtol=0, atol=0)
    for row, item in enumerate(items):
        alone = model(item["joints"][None])
        torch.testing.assert_close(together.scores[row], alone.scores[0], rtol=1e-5, atol=1e-5)
        for ours, whole in (
            (alone.spatial_weights, together.spatial_weights),
            (alone.temporal_weights, together.temporal_weights),
        ):
            if ours is not None:
                torch.testing.assert_close(
                    whole[row, : len(item["joints"])], ours[0], rtol=1e-5, atol=1e-6
                )


def test_subnets_by_hand():
    """Frame by frame with LSTMCell: h_{t-1}, not h_t, and the equations as printed."""
    torch.manual_seed(0)
    spatial, temporal, frames = JointAttention(4, 6), FrameAttention(4, 6), torch.randn(1, 5, 12)
    for subnet in (spatial, temporal):
        cell = torch.nn.LSTMCell(12, 6)
        cell.load_state_dict(
            {name.removesuffix("_l0"): value for name, value in subnet.lstm.state_dict().items()}
        )
        state = (torch.zeros(1, 6), torch.zeros(1, 6))
        for t in range(5):
            x, h = frames[:, t], state[0]
            if subnet is spatial:
                s = spatial.score(
                    torch.tanh(spatial.from_joints(x) + h @ spatial.from_hidden.weight.T)
                )
                torch.testing.assert_close(spatial(frames)[:, t], s.exp() / s.exp().sum())
            else:
                b = (
                    x @ temporal.from_joints.weight.T
                    + temporal.from_joints.bias
                    + h @ temporal.from_hidden.weight.T
                ).clamp(min=0)
                torch.testing.assert_close(temporal(frames)[:, t], b[:, 0])
            state = cell(x, state)


def test_scores_are_the_beta_weighted_sum_over_weighted_joints():
    torch.manual_seed(0)
    model, joints = STALSTM(3, 4, hidden_dim=6).eval(), torch.randn(1, 5, 4, 3)
    output = model(joints)
    z = model.main((joints * output.spatial_weights[..., None]).reshape(1, 5, 12))
    torch.testing.assert_close(
        output.scores[0], sum(output.temporal_weights[0, t] * z[0, t] for t in range(5))
    )
    rescaled = STALSTM(3, 4, hidden_dim=6, rescale_joints=True).eval()
    rescaled.load_state_dict(model.state_dict())
    torch.testing.assert_close(rescaled(joints).spatial_weights, 4 * output.spatial_weights)


def test_loss_by_hand():
    """Two joints; sequences of 2 and 1 frames, the second padded with nonsense alpha."""
    alpha = torch.tensor([[[0.5, 0.5], [1.0, 0.0]], [[0.2, 0.8], [0.9, 0.1]]])
    beta = torch.tensor([[2.0, 1.0], [0.5, 0.0]])
    output = ActionOutput(torch.tensor([[0.0, 0.0], [math.log(3), 0.0]]), alpha, beta)
    weights = [torch.tensor([[1.0, -2.0]]), torch.tensor([[-0.5]])]
    terms = regularized_loss(
        output, torch.eye(2), torch.tensor([2, 1]), weights, (0.1, 0.01, 0.001)
    )
    joints = (((1 - 0.75) ** 2 + (1 - 0.25) ** 2) + ((1 - 0.2) ** 2 + (1 - 0.8) ** 2)) / 2
    frames = ((2 + 1) / 2 + 0.5 / 1) / 2
    expected = {
        "loss_ce": (math.log(2) + math.log(4)) / 2,
        "loss_joints": 0.1 * joints,
        "loss_frames": 0.01 * frames,
    }
    expected |= {"loss_weights": 0.001 * 3.5}
    assert {name: float(terms[name]) for name in expected} == pytest.approx(expected, rel=1e-5)
    assert float(terms["loss"]) == pytest.approx(sum(expected.values()), rel=1e-5)
    plain = regularized_loss(
        ActionOutput(output.scores), torch.eye(2), torch.tensor([2, 1]), [], (0.1, 0.01, 0.001)
    )
    assert float(plain["loss"]) == pytest.approx(
        float(F.cross_entropy(output.scores, torch.tensor([0, 1]))), rel=1e-6
    )


# --- joint training


def test_the_eight_steps():
    steps = [
        (phase.uses, phase.main, phase.trained, phase.fresh, phase.epochs)
        for phase in joint_training(True, True, 2, 3, 1)
    ]
    t, s, both = ("temporal",), ("spatial",), ("temporal", "spatial")
    assert steps == [
        (t, "shallow", ("temporal", "shallow"), "shallow", 2),
        (t, "main", ("main",), "main", 3),
        (t, "main", ("temporal", "main"), None, 1),
        (s, "shallow", ("spatial", "shallow"), "shallow", 2),
        (s, "main", ("main",), "main", 3),
        (s, "main", ("spatial", "main"), None, 1),
        (both, "main", ("main",), "main", 3),
        (both, "main", ("temporal", "spatial", "main"), None, 1),
    ]
    assert [len(joint_training(*one, 2, 3, 1)) for one in ABLATIONS] == [1, 3, 3, 8]
    task = SkeletonAttention(CLASSES, 30, subnet_epochs=2, main_epochs=3, finetune_epochs=1)
    assert [task.phase_at(epoch)[0] for epoch in range(17)] == [
        0,
        0,
        1,
        1,
        1,
        2,
        3,
        3,
        4,
        4,
        4,
        5,
        6,
        6,
        6,
        7,
        7,
    ]
