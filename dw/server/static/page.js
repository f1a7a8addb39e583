// Shows a job's progress; the page works without it, by loading itself again.
const state = document.getElementById("state");
const progress = document.getElementById("progress");
const preview = document.getElementById("preview");
const bar = document.getElementById("bar");
const events = new EventSource(`/v1/jobs/${state.dataset.job}/events`);

events.addEventListener("JobState", (message) => {
  const told = JSON.parse(message.data).state;
  state.textContent = state.className = told;
  progress.textContent = "";
  bar.removeAttribute("value");
  if (["succeeded", "failed", "cancelled", "timed_out"].includes(told)) {
    events.close();
    location.reload();
  }
});

events.addEventListener("Stepped", (message) => {
  const step = JSON.parse(message.data);
  progress.textContent = `${step.name}: ${step.phase} ${step.done} of ${step.total}`;
  bar.max = step.total;
  bar.value = step.done;
});

events.addEventListener("Preview", (message) => {
  const shown = JSON.parse(message.data);
  preview.src = `data:image/png;base64,${shown.image}`;
  preview.hidden = false;
});
