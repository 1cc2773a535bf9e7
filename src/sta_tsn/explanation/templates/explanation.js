"use strict";
const explanation = JSON.parse(document.getElementById("explanation").textContent);
const video = document.getElementById("video");
const play = document.getElementById("play");
const clock = document.getElementById("clock");
const shown = document.getElementById("shown");
const strength = document.getElementById("strength");
const sections = [...document.querySelectorAll(".stream")];

const streams = sections.map((section, number) => ({
  ...explanation.streams[number],
  overlay: section.querySelector(".overlay"),
  copy: section.querySelector(".copy"),
  bars: [...section.querySelectorAll(".bars button")],
  playhead: section.querySelector(".playhead"),
  small: document.createElement("canvas"),
}));

/* The map at a time: between two frames that were seen it changes evenly. */
function mapAt(stream, time) {
  const times = stream.times;
  let after = times.findIndex((one) => one >= time);
  if (after === 0) return stream.maps[0];
  if (after < 0) return stream.maps[times.length - 1];
  const before = after - 1;
  const share = (time - times[before]) / (times[after] - times[before]);
  return stream.maps[before].map((row, y) =>
    row.map((value, x) => (1 - share) * value + share * stream.maps[after][y][x]));
}

function drawOverlay(stream, time) {
  const canvas = stream.overlay;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!stream.maps || !shown.checked) return;
  const map = mapAt(stream, time);
  const small = stream.small;
  small.height = map.length;
  small.width = map[0].length;
  const image = new ImageData(small.width, small.height);
  const opacity = 255 * strength.value / 100;
  map.flat().forEach((value, cell) => {
    const last = explanation.colours.length - 1;
    const colour = explanation.colours[Math.round(value * last)];
    image.data.set([...colour, opacity * value], 4 * cell);
  });
  small.getContext("2d").putImageData(image, 0, 0);
  const crop = stream.crop;
  const place = [crop.left * canvas.width, crop.top * canvas.height,
    crop.width * canvas.width, crop.height * canvas.height];
  context.imageSmoothingQuality = "high";
  context.drawImage(small, ...place);
  for (const [colour, offset] of [["#ffffff", 0], ["#000000", 5]]) {
    context.strokeStyle = colour;
    context.setLineDash([5, 5]);
    context.lineDashOffset = offset;
    context.strokeRect(...place);
  }
}

function draw() {
  const time = video.currentTime;
  clock.textContent = `${time.toFixed(2)} s of ${explanation.duration.toFixed(2)} s`;
  for (const stream of streams) {
    if (stream.copy && video.readyState >= 2) {
      stream.copy.getContext("2d").drawImage(video, 0, 0, stream.copy.width, stream.copy.height);
    }
    drawOverlay(stream, time);
    stream.playhead.style.left = `${100 * Math.min(1, time / explanation.duration)}%`;
    const current = nearest(stream, time);
    stream.bars.forEach((bar, number) => {
      if (number === current) bar.setAttribute("aria-current", "true");
      else bar.removeAttribute("aria-current");
    });
  }
}

function nearest(stream, time) {
  let best = 0;
  stream.barTimes.forEach((one, number) => {
    if (Math.abs(one - time) < Math.abs(stream.barTimes[best] - time)) best = number;
  });
  return best;
}

/* A little later than the frame begins, or the one before it would be shown. */
function jump(time) {
  video.pause();
  video.currentTime = Math.min(time + 0.001, explanation.duration);
}

function step(direction) {
  const focused = streams.find((stream) => stream.bars.includes(document.activeElement));
  const stream = focused || streams[0];
  const now = video.currentTime;
  const times = [...stream.times];
  const next = direction > 0
    ? times.find((one) => one > now + 0.002)
    : times.reverse().find((one) => one < now - 0.002);
  if (next === undefined) return;
  jump(next);
  if (focused) focus(stream, stream.barTimes.indexOf(next));
}

function focus(stream, number) {
  stream.bars.forEach((bar) => { bar.tabIndex = -1; });
  stream.bars[number].tabIndex = 0;
  stream.bars[number].focus();
}

function toggle() {
  if (video.paused) video.play(); else video.pause();
}

function loop() {
  draw();
  if (!video.paused) requestAnimationFrame(loop);
}

play.addEventListener("click", toggle);
video.addEventListener("click", toggle);
video.addEventListener("play", () => { play.textContent = "Pause"; loop(); });
video.addEventListener("pause", () => { play.textContent = "Play"; draw(); });
for (const event of ["seeked", "loadeddata"]) video.addEventListener(event, draw);
if (shown) {
  shown.addEventListener("change", draw);
  strength.addEventListener("input", draw);
}
for (const stream of streams) {
  stream.bars.forEach((bar, number) => bar.addEventListener("click", () => {
    jump(stream.barTimes[number]);
    focus(stream, number);
  }));
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const target = event.target;
  const inSlider = target === strength;
  const arrow = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (arrow && !inSlider) {
    step(arrow);
    event.preventDefault();
  } else if (event.key === " " && !target.closest("button, input")) {
    toggle();
    event.preventDefault();
  } else if (event.key.toLowerCase() === "a" && shown) {
    shown.checked = !shown.checked;
    draw();
  }
});

/* The page opens at the strongest moment. */
const first = streams[0].bars.findIndex((bar) => bar.tabIndex === 0);
jump(streams[0].barTimes[first]);
draw();
