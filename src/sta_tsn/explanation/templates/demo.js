"use strict";
const limits = JSON.parse(document.getElementById("limits").textContent);
const drop = document.getElementById("drop");
const file = document.getElementById("file");
const camera = document.getElementById("camera");
const preview = document.getElementById("preview");
const state = document.getElementById("state");
const error = document.getElementById("error");
let busy = false;

function fail(text) {
  busy = false;
  state.textContent = "";
  error.textContent = text;
  error.hidden = false;
}

async function explain(video, name) {
  if (busy) return;
  error.hidden = true;
  if (video.size > limits.bytes) {
    fail(`${name} has ${Math.ceil(video.size / 2 ** 20)} MB; give one of at most ${Math.floor(limits.bytes / 2 ** 20)} MB.`);
    return;
  }
  busy = true;
  const began = Date.now();
  const clock = setInterval(() => {
    state.textContent = `Looking at ${name}: ${Math.round((Date.now() - began) / 1000)} s`;
  }, 250);
  try {
    const headers = { "X-File-Name": encodeURIComponent(name), "Content-Type": "application/octet-stream" };
    const answer = await fetch("/explain", { method: "POST", headers, body: video });
    if (answer.status === 201) location.assign(answer.headers.get("Location"));
    else fail(await answer.text());
  } catch {
    fail("The server did not answer. Is it still running?");
  } finally {
    clearInterval(clock);
  }
}

async function record() {
  error.hidden = true;
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: true });
  } catch {
    fail("The browser gives no camera. Allow it, or drop a video.");
    return;
  }
  preview.srcObject = stream;
  preview.hidden = false;
  await preview.play();
  const parts = [];
  const recorder = new MediaRecorder(stream);
  recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
  recorder.addEventListener("stop", () => {
    stream.getTracks().forEach((track) => track.stop());
    preview.hidden = true;
    camera.disabled = false;
    if (!parts.some((part) => part.size)) {
      fail("The camera gave no pictures. Try again, or drop a video.");
      return;
    }
    explain(new Blob(parts, { type: recorder.mimeType }), "camera");
  });
  camera.disabled = true;
  recorder.start();
  state.textContent = `Recording ${limits.camera_sec} s`;
  setTimeout(() => recorder.stop(), 1000 * limits.camera_sec);
}

file.addEventListener("change", () => {
  if (file.files.length) explain(file.files[0], file.files[0].name);
});
camera.addEventListener("click", record);
for (const kind of ["dragover", "drop"]) {
  document.addEventListener(kind, (event) => event.preventDefault());
}
drop.addEventListener("dragover", () => drop.classList.add("over"));
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
document.addEventListener("drop", (event) => {
  drop.classList.remove("over");
  const [video] = event.dataTransfer.files;
  if (video) explain(video, video.name);
});
/* A page that the browser kept (the back button) takes the next video. */
window.addEventListener("pageshow", () => {
  busy = false;
  file.value = "";
  state.textContent = "";
});
