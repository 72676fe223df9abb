#!/usr/bin/env bash
# Decides whether a job may use this machine. The runner starts it before the first step
# (ACTIONS_RUNNER_HOOK_JOB_STARTED), and any status but 0 ends the job. It lies on the machine, where no
# pull request can change it, and believes only what GitHub says of a job: a workflow cannot set
# GITHUB_*, and its own `env` does not come here.
set -eu
PATH=/usr/bin:/bin
here=${0%/*}
allowed=$here/allowed

refuse() {
  echo "refused: $1" >&2
  logger --tag colbert-runner -- "refused: $1" 2>/dev/null || true # its journal outlives the job
  exit 1
}

listed() {
  local line
  while IFS= read -r line || [[ -n $line ]]; do
    [[ $line == "$1" ]] && return
  done <"$allowed"
  return 1
}

# Quoted, because whoever names a branch must not write lines of this log.
repository=${GITHUB_REPOSITORY-} && quoted_repository=${repository@Q}
event=${GITHUB_EVENT_NAME-} && quoted_event=${event@Q}
ref=${GITHUB_REF-} && quoted_ref=${ref@Q}
# Of a workflow that calls another this names the caller, which is the one that somebody started.
workflow=${GITHUB_WORKFLOW_REF-} && quoted_workflow=${workflow@Q}

case $event in
  schedule | workflow_dispatch) ;;
  *) refuse "the event is $quoted_event; only schedule and workflow_dispatch may start a job here" ;;
esac
[[ $workflow == "$repository/.github/workflows/"* ]] ||
  refuse "the workflow $quoted_workflow is not one of the repository $quoted_repository"
[[ $workflow == *"@$ref" ]] ||
  refuse "the workflow $quoted_workflow is not as it is on $quoted_ref, which the job is about"
[[ -r $allowed ]] || refuse "there is no list $allowed of what may start a job here"
listed "$event $workflow" || refuse "the list $allowed has no line ${quoted_event} ${quoted_workflow}"

# What the list says is worth nothing to a job that could change it, or this machine.
[[ $EUID -ne 0 ]] || refuse "jobs run as root; run the service as a user of its own"
for path in "$here" "$0" "$allowed"; do
  [[ ! -O $path && ! -w $path ]] || refuse "jobs can change $path; it must belong to root alone"
done
grep -q '^NoNewPrivs:[[:space:]]*1$' /proc/self/status ||
  refuse "jobs can become another user; set NoNewPrivileges=yes in the service"
for socket in /run/docker.sock /run/containerd/containerd.sock /run/podman/podman.sock; do
  [[ ! -w $socket ]] || refuse "jobs can write to $socket, which is as good as being root"
done

# One job, then gone: nothing may be here from another.
for folder in "${GITHUB_WORKSPACE:-unset}" "${HF_HOME:-unset}" "${TORCH_EXTENSIONS_DIR:-unset}"; do
  [[ $folder == /* ]] || refuse "GITHUB_WORKSPACE, HF_HOME or TORCH_EXTENSIONS_DIR is not set; use start.sh"
  [[ ! -e $folder || -z $(ls -A "$folder") ]] || refuse "something is left in $folder; use start.sh"
done
