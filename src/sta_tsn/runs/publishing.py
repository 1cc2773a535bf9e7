"""`sta-tsn publish`: a finished run as a folder for Hugging Face's Hub; nothing is sent."""

from pathlib import Path

from sta_tsn.artefacts import atomic, write_json
from sta_tsn.errors import UserError
from sta_tsn.evaluation import ScoreTable
from sta_tsn.prediction.checkpoints import (
    PUBLISHED_CARD,
    PUBLISHED_CONFIG,
    PUBLISHED_WEIGHTS,
    load_stream,
    read_checkpoint,
)
from sta_tsn.prediction.description import describe
from sta_tsn.runs.folder import RunFolder
from sta_tsn.runs.model_card import write_card


def publish(run: str, out: str) -> Path:
    """Lay out a tested run: weights, configuration, model card.

    `sta_tsn.load(out)` reads it back; weights are safetensors, so whoever loads them runs no code.

    Args:
        run: folder of a run, .../backbone or .../temporal.
        out: a new folder.

    Raises:
        UserError: the run is not tested or not of videos, or the folder holds something already.
    """
    from safetensors.torch import save_file

    folder = RunFolder(run)
    target = Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target.resolve()} is there already; name a folder that is not.")
    table = ScoreTable.load(folder.path)
    stream = load_stream(folder.tested_checkpoint)
    saved = read_checkpoint(folder.tested_checkpoint)
    with atomic(target / PUBLISHED_WEIGHTS) as temporary:
        weights = {name: tensor.contiguous() for name, tensor in saved.weights.items()}
        save_file(weights, temporary, metadata={"format": "pt"})
    config = {
        **describe(stream),
        "hyper_parameters": saved.settings,
        "shown": saved.shown or {},
        "network": saved.network,
    }
    write_json(target / PUBLISHED_CONFIG, config)
    if not folder.card.exists():  # of a version that wrote none
        write_card(folder, table)
    if folder.card.exists():
        with atomic(target / PUBLISHED_CARD) as temporary:
            temporary.write_bytes(folder.card.read_bytes())
    print(
        f"Published: {target.resolve()}. Look through {PUBLISHED_CARD}, name a licence, then: "
        f"hf upload OWNER/NAME {target}"
    )
    return target
