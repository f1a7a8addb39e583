#!/bin/sh
# The start of a RunPod worker, as the CMD of its image. It ends at once, with the reason, where it
# would never be given a job. exec: when the handler ends, so does the container, with its heartbeat.
set -eu
workflow="$(dirname "$0")/headshot.json"
exec "${PYTHON:-python3}" -m dw runpod "$@" --workflow "$workflow"
