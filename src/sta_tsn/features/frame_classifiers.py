"""Which training frames show their video's action: K one-vs-rest classifiers, judged out of fold (Eq 13).

The paper trains as many binary classifiers as classes on the frozen features and asks the classifier of the
video's own class (of any of its classes, in a multi-label video). Readings: logistic regression with positives
weighted up to balance, target = the video's labels for all its frames; each video is judged by classifiers that
did not see its group (5 folds), else nearly every training frame is "true" and the regularization is dead. Where a
class occurs in one fold alone, nothing can judge its frames: they count as true.
"""

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from sta_tsn.artefacts import atomic
from sta_tsn.features.store import FeatureStore
from sta_tsn.video import multi_hot

NUM_FOLDS = 5
L2_PENALTY = 1e-3
MAX_ITERATIONS = 60
JUDGEMENT_FILE = "judgement.safetensors"


def fit_frame_classifiers(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """K balanced one-vs-rest logistic regressions by L-BFGS, all at once.

    Args:
        features: (M, D) of M frames, any scale (they are standardised inside).
        labels: (M, K), 1 for the classes of each frame's video.

    Returns:
        weights (K, D) and biases (K,) for features as given. A class without frames gets bias -inf: never true.
    """
    mean, std = features.mean(0), features.std(0).clamp(min=1e-6)
    inputs, targets = (features - mean) / std, labels.to(features.dtype)
    positives = targets.sum(0)
    pos_weight = (len(targets) - positives) / positives.clamp(min=1)
    num_classes = labels.shape[1]
    weight = torch.zeros(num_classes, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(num_classes, device=features.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=MAX_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(F.linear(inputs, weight, bias), targets, pos_weight=pos_weight)
        loss = loss + L2_PENALTY * weight.square().sum() / num_classes
        loss.backward()
        return loss

    optimizer.step(closure)
    weight, bias = weight.detach() / std, bias.detach()
    bias = (bias - weight @ mean).masked_fill(positives == 0, -torch.inf)
    return weight, bias


def judge_frames(features: Tensor, labels: Tensor, groups: list[str]) -> Tensor:
    """bool (V, N, T): whether the classifier of one of the video's classes, fitted on other groups, says true (> 0.5).

    Args:
        features: (V, N, T, D) of V training videos.
        labels: (V, K), 1 for the classes of each video.
        groups: source of each video; one group is in one fold.
    """
    names, group_of_video = np.unique(groups, return_inverse=True)
    fold_of_group = np.random.default_rng(0).permutation(len(names)) % min(NUM_FOLDS, len(names))
    folds = torch.from_numpy(fold_of_group[group_of_video]).to(labels.device)
    relevant = torch.zeros(features.shape[:3], dtype=torch.bool, device=features.device)
    frames_per_video = features.shape[1] * features.shape[2]
    for fold in folds.unique():
        seen, unseen = folds != fold, folds == fold
        if not seen.any():
            return torch.ones_like(relevant)
        frame_labels = labels[seen].repeat_interleave(frames_per_video, 0)
        weight, bias = fit_frame_classifiers(features[seen].flatten(0, 2), frame_labels)
        logits = F.linear(features[unseen], weight, bias)  # (v, N, T, K)
        own = labels[unseen].bool()
        true = ((logits > 0) & own[:, None, None, :]).any(-1)  # sigmoid > 0.5
        unknown = ~(own & labels[seen].any(0)).any(1)  # no classifier of theirs: their classes occur in this fold alone
        relevant[unseen] = true | unknown[:, None, None]
    return relevant


def judge_videos(store: FeatureStore, device: torch.device) -> None:
    """Judge the store's training videos and write the result beside them; does nothing where that is done."""
    path = store.folder / JUDGEMENT_FILE
    if path.exists():
        return
    about = store.about
    videos = about["videos"]["train"]
    print(f"Judging the frames of {len(videos)} training videos, {NUM_FOLDS} folds ...", flush=True)
    features = torch.stack([store.read(video["id"])["features"][0] for video in videos]).to(device).float()
    labels = torch.stack([multi_hot(video["labels"], len(about["classes"])) for video in videos]).to(device)
    relevant = judge_frames(features, labels, [video["group"] for video in videos]).cpu()
    print(f"Judged false: {(~relevant).float().mean():.1%} of {relevant.numel()} frames", flush=True)
    with atomic(path) as temporary:
        save_file({"relevant": relevant}, temporary)


def read_judgement(store: FeatureStore) -> Tensor:
    """bool (V, N, T) in the order of the store's training videos."""
    return load_file(store.folder / JUDGEMENT_FILE)["relevant"]
