#!/usr/bin/env bash
# Offers one GPU to GitHub for one job, in a folder and an environment of its own, and leaves nothing:
#   start.sh GPU TOKEN_FILE
# GPU is its number, TOKEN_FILE holds a registration token and is deleted before a job can read it.
# The settings come from the environment: RUNNER_URL, RUNNER_LABELS, RUNNER_PROGRAM, CUDA_HOME.
set -euo pipefail
umask 077
gpu=$1
token_file=$2
hook=$(dirname "$(realpath "$0")")/job-started.sh
[[ $gpu =~ ^[0-9]+$ ]] || { echo "error: $gpu is not the number of a GPU" >&2 && exit 2; }
[[ -r $hook ]] || { echo "error: no $hook, and without it any job could run here" >&2 && exit 2; }
: "${RUNNER_URL:?}" "${RUNNER_LABELS:?}" "${RUNNER_PROGRAM:?}" "${CUDA_HOME:?}"

token=$(<"$token_file")
rm -f "$token_file"
job=$(mktemp --directory /var/tmp/colbert-job.XXXXXXXX) # a disk: an environment takes 7 GB
trap 'rm -rf "$job"' EXIT
mkdir "$job/home" "$job/tmp" "$job/work"
# A copy, for a job can change the program that runs it.
cp -a "$RUNNER_PROGRAM" "$job/runner"
cd "$job/runner"

# Nothing that this shell was given reaches a job unless it is named here.
clean=(
  env --ignore-environment
  PATH="$CUDA_HOME/bin:/usr/local/bin:/usr/bin:/bin"
  LANG=C.UTF-8
  HOME="$job/home"
  TMPDIR="$job/tmp"
  CUDA_HOME="$CUDA_HOME"
  CUDA_DEVICE_ORDER=PCI_BUS_ID
  CUDA_VISIBLE_DEVICES="$gpu"
  HF_HOME="$job/huggingface"
  HF_HUB_OFFLINE=1
  TORCH_EXTENSIONS_DIR="$job/extensions"
  ACTIONS_RUNNER_HOOK_JOB_STARTED="$hook"
)
# Every process may read the arguments of another. GitHub's program takes the token from its
# environment too, and here from that of a shell that reads it from a pipe.
# shellcheck disable=SC2016 # the inner shell expands it
"${clean[@]}" bash -c 'read -r ACTIONS_RUNNER_INPUT_TOKEN && export ACTIONS_RUNNER_INPUT_TOKEN && exec ./config.sh "$@"' config \
  --unattended --ephemeral --disableupdate --replace --url "$RUNNER_URL" \
  --name "$(uname -n)-gpu$gpu" --labels "$RUNNER_LABELS" --work "$job/work" <<<"$token"
unset token
"${clean[@]}" ./run.sh
