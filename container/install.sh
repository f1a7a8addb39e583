#!/bin/sh
# Install dw and its services into a virtual environment, by the lock: what the image is made of.
# usage: container/install.sh FOLDER [pip's options, such as --extra-index-url URL of other torch wheels]
set -eu
folder=$1
shift
cd "$(dirname "$0")/.."
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/python" -m pip install --no-cache-dir --disable-pip-version-check --quiet \
    -c constraints.txt "$@" '.[serve,runpod]'
"$folder/bin/dw" --version
