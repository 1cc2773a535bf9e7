"""The page of a video, and the page that lists several: one file each that holds all it shows."""

import base64
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from sta_tsn.artefacts import atomic
from sta_tsn.attention.explain import over_uniform, top_of_scale
from sta_tsn.explanation.bars import Bar, strongest_of_segments
from sta_tsn.explanation.explained_video import ExplainedStream, ExplainedVideo
from sta_tsn.explanation.heat import STRENGTH, centre_box, colours
from sta_tsn.explanation.sentences import when_sentence, where_sentence

JPEG_QUALITY = 85
NUM_TICKS = 6
HEADROOM = 1.1  # above the highest bar
UNSURE = 0.1  # the runner-up is nearer than this


@dataclass(frozen=True)
class Shown:
    """What a page is made of, beside what the networks said.

    clip: H.264 in MP4. poster: uint8 (H, W, 3), of the clip's size. times_sec: of all frames.
    bars: of each stream. beside: names of the files that were written with the page.
    """

    clip: bytes
    poster: np.ndarray
    times_sec: list[float]
    duration_sec: float
    bars: list[list[Bar]]
    beside: list[str]


@dataclass(frozen=True)
class Listed:
    """One line of the index: a video with its page, or why it has none.

    picture: uint8 (H, W, 3). page: the file's name, beside the index.
    """

    video: str
    page: str = ""
    answer: str = ""
    probability: float = 0.0
    picture: np.ndarray | None = None
    reason: str = ""


def write_explanation(video: ExplainedVideo, shown: Shown, path: Path) -> None:
    """Write the page of one video."""
    with atomic(path) as temporary:
        temporary.write_text(explanation_html(video, shown), encoding="utf-8")


def explanation_html(video: ExplainedVideo, shown: Shown, back: str = "") -> str:
    """Return the page of one video.

    Args:
        video: what the networks said.
        shown: what else is on the page.
        back: address of the page that takes another video; none where empty.
    """
    best = video.best()
    answer = int(video.probabilities.argmax())
    streams = [
        _stream(stream, bars, shown, answer, number)
        for number, (stream, bars) in enumerate(zip(video.streams, shown.bars, strict=True))
    ]
    height, width = shown.poster.shape[:2]
    content = {
        "video": video,
        "best": best,
        "unsure": len(best) > 1 and best[0][1] - best[1][1] < UNSURE,
        "streams": streams,
        "duration_sec": shown.duration_sec,
        "ticks": ticks(shown.duration_sec),
        "clip": _uri("video/mp4", shown.clip),
        "poster": _picture(shown.poster),
        "width_px": width,
        "height_px": height,
        "strength": round(100 * STRENGTH),
        "beside": shown.beside,
        "back": back,
        "data": {
            "duration": shown.duration_sec,
            "colours": colours().tolist(),
            "streams": [stream["data"] for stream in streams],
        },
    }
    return render("explanation.html.j2", content)


def write_index(lines: list[Listed], path: Path) -> None:
    """Write the page that lists all videos of one command."""
    content = {
        "lines": lines,
        "num_read": sum(not line.reason for line in lines),
    }
    with atomic(path) as temporary:
        temporary.write_text(render("explanations.html.j2", content), encoding="utf-8")


def ticks(duration_sec: float) -> list[float]:
    """Return some round seconds from 0 to the end."""
    rough = duration_sec / NUM_TICKS
    magnitude = 10 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough)
    return [round(number * step, 6) for number in range(int(duration_sec / step) + 1)]


def _stream(
    stream: ExplainedStream, bars: list[Bar], shown: Shown, answer: int, number: int
) -> dict:
    """Return what the template and the script need of one stream."""
    highest = max(bar.value for bar in bars)
    uniform = None
    if stream.beta is not None:
        uniform = 1 / stream.beta.shape[1]
        highest = max(highest, uniform)
    ceiling = HEADROOM * highest if stream.beta is not None else 1.0
    order = np.argsort(-stream.probabilities, kind="stable")[:2]
    strongest = max(range(len(bars)), key=lambda one: bars[one].value)
    return {
        "id": f"stream{number}",
        "modality": stream.modality,
        "network": stream.network,
        "has_beta": stream.beta is not None,
        "has_alpha": stream.alpha is not None,
        "sentences": [when_sentence(stream, shown.times_sec, answer), where_sentence(stream)],
        "own": [(int(k), float(stream.probabilities[k])) for k in order],
        "bars": bars,
        "strongest": strongest,
        "ceiling": ceiling,
        "uniform": uniform,
        "segments": _segments(bars),
        "moments": _moments(stream, bars),
        "data": _data(stream, bars, shown),
    }


def _segments(bars: list[Bar]) -> list[tuple[float, float]]:
    """Return where each segment begins and ends on the time axis."""
    spans = {}
    for bar in bars:
        start = spans.get(bar.segment, (bar.start_sec, 0.0))[0]
        spans[bar.segment] = (start, bar.end_sec)
    return list(spans.values())


def _moments(stream: ExplainedStream, bars: list[Bar]) -> list[tuple[Bar, str]]:
    """Return each segment's strongest frame, of many segments the strongest three, as seen."""
    pictures = stream.explained.pictures
    chosen = strongest_of_segments(bars)
    return [(bars[number], _picture(pictures[number])) for number in chosen]


def _data(stream: ExplainedStream, bars: list[Bar], shown: Shown) -> dict:
    """Return the numbers that the script draws from; each seen frame once."""
    frames, first = np.unique(stream.indices.flatten(), return_index=True)
    data = {"barTimes": [round(bar.time_sec, 4) for bar in bars]}
    data["times"] = [round(shown.times_sec[frame], 4) for frame in frames.tolist()]
    data["crop"] = asdict(centre_box(shown.poster, stream.explained.keep_proportions))
    data["maps"] = None
    if stream.alpha is not None:
        maps = over_uniform(stream.alpha).numpy()[first] / top_of_scale(stream.alpha)
        data["maps"] = maps.clip(0, 1).round(3).tolist()
    return data


def render(template: str, content: dict) -> str:
    """Return a page as text: style and script inside, all that is received escaped."""
    environment = Environment(
        loader=PackageLoader("sta_tsn.explanation"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
    )
    environment.filters["picture"] = _picture
    environment.filters["link"] = quote
    environment.filters["short"] = _short
    for name in ("explanation.css", "explanation.js", "demo.js"):
        source, _, _ = environment.loader.get_source(environment, name)
        environment.globals[name.replace(".", "_")] = Markup(source)
    return environment.get_template(template).render(content) + "\n"


def _short(path: str) -> str:
    """Return a file's name and its folder's: a page that is sent on tells no more of a disk."""
    return "/".join(Path(path).parts[-2:])


def _picture(pixels: np.ndarray) -> str:
    """Return uint8 (H, W, 3) RGB as a data URI."""
    _, encoded = cv2.imencode(
        ".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    return _uri("image/jpeg", encoded.tobytes())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
