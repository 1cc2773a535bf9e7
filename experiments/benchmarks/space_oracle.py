"""Could any spatial attention help? alpha := JHMDB's puppet mask, in training and in testing.

Command: python experiments/benchmarks/space_oracle.py FEATURES=<store with maps> DATA=<JHMDB>
The store: make features DATASET=jhmdb BACKBONE=... KEPT=both. Frames of the maps are pooled in five
ways, and the linear head of `make train MODEL=probe` is fitted on each: its grid chosen on
validation videos, tested once. Printed are accuracies on all splits of the store, and the points
to the mean with a 95 % interval over source videos and p.
"""

import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import Trainer
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from sta_tsn.artefacts import write_json
from sta_tsn.datasets import JHMDB, VideoRecord
from sta_tsn.evaluation.statistics import accuracy_interval, paired_difference
from sta_tsn.features import FeatureStore, FrozenFeatureDataModule
from sta_tsn.tasks import LinearProbing
from sta_tsn.video import crop_masks

MEAN = "mean of the map"
EPOCHS = 6  # as in experiments/models/probe/linear.yaml


def pooled(maps: Tensor, actor: Tensor) -> dict[str, Tensor]:
    """Return features (n, D) of frames by how their maps (n, H, W, D) are pooled.

    Args:
        maps: of the frames.
        actor: (n, H, W), the share of each position that the actor covers; where a crop holds
            nothing of the actor alpha is uniform.
    """
    uniform = torch.full_like(actor, 1 / actor[0].numel())
    inside = actor.sum((1, 2), keepdim=True)
    alpha = torch.where(inside > 0, actor / inside.clamp(min=1e-6), uniform)
    outside = (1 - actor).sum((1, 2), keepdim=True)
    others = torch.where(outside > 0, (1 - actor) / outside.clamp(min=1e-6), uniform)
    mean = maps.mean((1, 2))
    under = torch.einsum("nhw,nhwd->nd", alpha, maps)
    return {
        MEAN: mean,
        "alpha, Eq 6 elementwise": mean + under / actor[0].numel(),
        "alpha, Eq 6 inner product": mean + under,
        "the actor alone": under,
        "all but the actor": torch.einsum("nhw,nhwd->nd", others, maps),
    }


def write_stores(source: FeatureStore, dataset: JHMDB, folder: Path) -> dict[str, Path]:
    """Write one store of pooled features a way; return their folders by its name."""
    about = {**source.about, "kept": "pooled"}
    found: dict[str, Path] = {}
    for video in track(about["videos"], "Pooling maps"):
        stored = source.read(video["id"])
        maps = stored["maps"][0].float()  # (N, T, H, W, D)
        record = VideoRecord(video["id"], Path(), tuple(video["labels"]), video["group"])
        mask = dataset.actor_mask(record)
        side = maps.shape[2]
        # The store's crops are 32 times as large as their maps.
        seen = crop_masks(mask, stored["frame_indices"].flatten().tolist(), 32 * side)
        actor = F.adaptive_avg_pool2d(torch.from_numpy(seen)[:, None], side).squeeze(1)
        for number, (name, features) in enumerate(pooled(maps.flatten(0, 1), actor).items()):
            found[name] = folder / str(number)
            by_frame = features.half().unflatten(0, maps.shape[:2])[None]
            FeatureStore(found[name]).write(
                video["id"], features=by_frame, frame_indices=stored["frame_indices"]
            )
    for path in found.values():
        write_json(path / "store.json", about)
    return found


def right_answers(store: Path, split: int) -> tuple[np.ndarray, list[str]]:
    """Fit the linear head; return whether each test video was right, and its source."""
    torch.manual_seed(0)
    data = FrozenFeatureDataModule(str(store), split=split)
    task = LinearProbing(data.classes, data.feature_dim, data.frames)
    trainer = Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(task, datamodule=data)
    trainer.test(task, datamodule=data, verbose=False)
    right = []
    for index, video in enumerate(data.test_videos):
        answer = int(task.test_outputs[index]["scores"].argmax())
        right.append(answer in video["labels"])
    return np.array(right, float), [video["group"] for video in data.test_videos]


def main(arguments: list[str]) -> None:
    given = dict(argument.split("=", 1) for argument in arguments)
    if "FEATURES" not in given or "DATA" not in given:
        sys.exit(__doc__)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    source = FeatureStore(given["FEATURES"])
    splits = [int(number) for number in source.about["splits"]]
    with tempfile.TemporaryDirectory() as folder:
        stores = write_stores(source, JHMDB(given["DATA"]), Path(folder))
        before = None
        for name, store in stores.items():
            answers = [right_answers(store, split) for split in splits]
            right = np.concatenate([of_split for of_split, _ in answers])
            sources = [one for _, of_split in answers for one in of_split]
            by_split = " ".join(f"{100 * of_split.mean():.1f}" for of_split, _ in answers)
            low, high = accuracy_interval(right, sources)
            line = f"{name}: {by_split}, all {100 * right.mean():.1f} "
            line += f"({100 * low:.1f} to {100 * high:.1f})"
            if name == MEAN:
                before = right
            else:
                gain = paired_difference(before, right, sources)
                line += f"; {100 * gain.mean:+.1f} ({100 * gain.low:+.1f} to "
                line += f"{100 * gain.high:+.1f}, p = {gain.p:.4f})"
            print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
