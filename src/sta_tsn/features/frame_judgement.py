"""Which training frames show their video's action: classifiers, judged out of fold (Eq 13).

The paper trains as many binary classifiers as classes on the frozen features and asks the one of
the video's own class (of any of its classes, in a multi-label video). Readings: logistic
regression with positives weighted up to balance; the target is the video's labels for all its
frames; each video is judged by classifiers that did not see its group (5 folds), else nearly every
training frame is "true" and the regularization is dead. Where a class occurs in one fold alone,
nothing can judge its frames: they count as true.

The features themselves come from a backbone that learned all of these videos, which makes frames
look more like their class than they would. `data.judged_by` names features of the same frames by an
encoder that did not learn them (`make features`), which then judge in their place: one more
extraction. A backbone a fold, trained without the videos that it judges, would cost five times
stage one and is not offered. The share judged false, which tells whether it matters, is in every
result.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sta_tsn.artefacts import fingerprint
from sta_tsn.errors import UserError
from sta_tsn.features.feature_store import FeatureStore
from sta_tsn.features.tensor_files import load_tensors, save_tensors
from sta_tsn.video import multi_hot

NUM_FOLDS = 5
L2_PENALTY = 1e-3
MAX_ITERATIONS = 60
MAX_FITTED_FRAMES = 100_000  # 0.4 GB of 2,048 features in fp16, 1.5 GB while they are fitted
JUDGEMENT_FILE = "judgement.safetensors"
DEAD_SHARE = 0.01  # of frames judged false, under which the regularization is as good as absent


def fit_frame_classifiers(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Fit K balanced one-vs-rest logistic regressions by L-BFGS, all at once.

    Args:
        features: (M, D) of M frames, any scale (they are standardised inside).
        labels: (M, K), 1 for the classes of each frame's video.

    Returns:
        weights (K, D) and biases (K,) for features as given. A class without frames gets bias
        -inf: never true.
    """
    mean = features.mean(0)
    std = features.std(0).clamp(min=1e-6)
    inputs = (features - mean) / std
    targets = labels.to(features.dtype)
    positives = targets.sum(0)
    pos_weight = (len(targets) - positives) / positives.clamp(min=1)
    num_classes = labels.shape[1]
    weight = torch.zeros(num_classes, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(num_classes, device=features.device, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=MAX_ITERATIONS, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(
            F.linear(inputs, weight, bias), targets, pos_weight=pos_weight
        )
        loss = loss + L2_PENALTY * weight.square().sum() / num_classes
        loss.backward()
        return loss

    optimizer.step(closure)
    weight = weight.detach() / std
    bias = bias.detach() - weight @ mean
    bias = bias.masked_fill(positives == 0, -torch.inf)
    return weight, bias


def judge_frames(
    features: Sequence[Tensor],
    labels: Tensor,
    groups: list[str],
    max_fitted: int = MAX_FITTED_FRAMES,
) -> Tensor:
    """Return bool (V, N, T): whether a classifier of the video's classes says true (> 0.5).

    It was fitted on other groups.

    Args:
        features: (N, T, D) of each of V training videos; each is asked for twice, so that they need
            not be in memory.
        labels: (V, K), 1 for the classes of each video.
        groups: source of each video; one group is in one fold.
        max_fitted: frames that the classifiers of all folds are fitted on; beyond, some of each
            video.
    """
    names, group_of_video = np.unique(groups, return_inverse=True)
    fold_of_group = np.random.default_rng(0).permutation(len(names)) % min(NUM_FOLDS, len(names))
    folds = torch.from_numpy(fold_of_group[group_of_video])
    sample, video_of_frame = sampled_frames(features, max_fitted)
    classifiers = {}
    for fold in folds.unique().tolist():
        seen = folds[video_of_frame] != fold
        frame_labels = labels[video_of_frame[seen].to(labels.device)]
        fitted = None
        if seen.any():
            fitted = fit_frame_classifiers(sample[seen].to(labels.device).float(), frame_labels)
        classifiers[fold] = fitted, frame_labels.any(0)
    of_videos = zip(features, labels.bool(), folds.tolist(), strict=True)
    return torch.stack([_judge(one, own, *classifiers[fold]) for one, own, fold in of_videos])


def sampled_frames(features: Sequence[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """Return at most `count` frames, as many of each video, spread over it at random.

    Of more than `count` videos there are some.

    Returns:
        features (M, D) and the index (M,) of each one's video.
    """
    num_videos = len(features)
    num_frames = features[0].shape[:2].numel()
    each = min(num_frames, max(1, count // num_videos))
    generator = torch.Generator().manual_seed(0)
    videos = torch.arange(num_videos)
    if num_videos > count:
        videos = torch.randperm(num_videos, generator=generator)[:count].sort().values
    sample = []
    for video in videos.tolist():
        # One frame from each of `each` equal parts, anywhere in it: no place is left out.
        places = torch.arange(each) + torch.rand(each, generator=generator)
        chosen = (places * num_frames / each).long().clamp(max=num_frames - 1)
        sample.append(features[video].flatten(0, 1)[chosen].cpu())
    return torch.cat(sample), videos.repeat_interleave(each)


def _judge(
    features: Tensor, own: Tensor, fitted: tuple[Tensor, Tensor] | None, known: Tensor
) -> Tensor:
    """Return bool (N, T), which frames of one video are judged true.

    Args:
        features: (N, T, D).
        own: bool (K,), the video's classes.
        fitted: weights and biases of the classifiers; None where there are none.
        known: bool (K,), the classes that occur where they were fitted.
    """
    if fitted is None or not (own & known).any():  # nothing can judge it
        return torch.ones(features.shape[:2], dtype=torch.bool)
    logits = F.linear(features.to(own.device).float(), *fitted)  # (N, T, K)
    return ((logits > 0) & own).any(-1).cpu()  # sigmoid > 0.5


class _StoredFeatures(Sequence):
    """Centre crops of a store's videos, read when asked for."""

    def __init__(self, store: FeatureStore, videos: list[dict]):
        self.store, self.videos = store, videos

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> Tensor:
        return self.store.read(self.videos[index]["id"])["features"][0]


def judge_videos(
    store: FeatureStore, device: torch.device, judge: FeatureStore | None = None
) -> None:
    """Judge the store's training videos and write the result beside them, once.

    Args:
        store: of the run.
        device: that the classifiers are fitted on.
        judge: features of the same frames that are judged in place of the store's own.

    Raises:
        UserError: `judge` lacks a video, or holds other frames of it.
    """
    path = judgement_path(store, judge)
    if path.exists():
        return
    about = store.about
    videos = about["videos"]["train"]
    print(f"Judging the frames of {len(videos)} training videos, {NUM_FOLDS} folds ...", flush=True)
    labels = torch.stack(
        [multi_hot(video["labels"], len(about["classes"])) for video in videos]
    ).to(device)
    if judge is not None:
        judge = FeatureStore(judge.folder, store.frames)
        _check_same_frames(store, judge, videos)
    relevant = judge_frames(
        _StoredFeatures(judge or store, videos), labels, [video["group"] for video in videos]
    )
    share = float((~relevant).float().mean())
    print(f"Judged false: {share:.1%} of {relevant.numel()} frames", flush=True)
    if share < DEAD_SHARE and judge is None:
        print(
            "So few that l_MSE (Eq 12) does next to nothing: the backbone learned these very "
            "videos. Features of an encoder that did not (make features) judge more strictly: "
            "data.judged_by=<their folder>.",
            flush=True,
        )
    save_tensors(path, {"relevant": relevant})


def judgement_path(store: FeatureStore, judge: FeatureStore | None = None) -> Path:
    """Return where the judgement lies; each of several judges has a file of its own."""
    if judge is None:
        return store.folder / JUDGEMENT_FILE
    return store.folder / f"judgement_{fingerprint(judge.about)}.safetensors"


def _check_same_frames(store: FeatureStore, judge: FeatureStore, videos: list[dict]) -> None:
    for video in videos:
        name = video["id"]
        remedy = f"make features of this split with {store.frames[0]} segments of a video"
        if not judge.path(name).exists():
            raise UserError(f"{judge.folder.resolve()} has no features of {name}: {remedy}.")
        seen = store.read(name)["frame_indices"]
        judged = judge.read(name)["frame_indices"]
        if not torch.equal(seen, judged):
            raise UserError(
                f"{judge.folder.resolve()} holds other frames of {name} than {store.folder}, so "
                f"they cannot judge it: {remedy}, into a new folder."
            )


def read_judgement(store: FeatureStore, judge: FeatureStore | None = None) -> Tensor:
    """Return bool (V, N, T), in the order of the store's training videos."""
    path = judgement_path(store, judge)
    return store.regrouped(load_tensors(path, store.remedy)["relevant"], axis=1)


def share_judged_false(store: FeatureStore, judge: FeatureStore | None = None) -> float | None:
    """Return the share (0 to 1) of the training frames judged false; None where none is judged."""
    if not judgement_path(store, judge).exists():
        return None
    return float((~read_judgement(store, judge)).float().mean())
