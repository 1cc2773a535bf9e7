import pytest
import torch

from sta_tsn.video import SegmentSampler


def test_test_indices_are_the_bins_centres():
    assert SegmentSampler()(300).flatten().tolist() == list(range(5, 300, 10))


@pytest.mark.parametrize("num_frames", [1, 2, 9, 29, 30, 31, 40, 100, 12345])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("stack_length", [1, 10])
def test_indices_ascend_and_stacks_stay_inside(num_frames, training, stack_length):
    indices = SegmentSampler(3, 10, training, stack_length)(num_frames)
    flat = indices.flatten()
    assert indices.shape == (3, 10)
    assert indices.dtype == torch.long
    assert (flat.diff() >= 0).all()
    assert flat.min() >= 0
    assert flat.max() + stack_length <= max(num_frames, stack_length)


def test_training_draws_every_frame_of_every_bin():
    generator = torch.Generator().manual_seed(0)
    sampler = SegmentSampler(1, 3, training=True)
    draws = torch.stack([sampler(12, generator)[0] for _ in range(400)])
    for position in range(3):
        assert sorted(set(draws[:, position].tolist())) == list(
            range(4 * position, 4 * position + 4)
        )


def test_the_generator_alone_decides():
    sampler = SegmentSampler(training=True)
    first, second = (sampler(500, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, sampler(500, torch.Generator().manual_seed(8)))


@pytest.mark.parametrize("wrong", [0, -3])
def test_a_video_without_frames_is_an_error(wrong):
    with pytest.raises(ValueError, match=str(wrong)):
        SegmentSampler()(wrong)
