#!/usr/bin/env bash
# One worker on each node of a SLURM job: sbatch configs/cluster/slurm.sh --flagfile=configs/quickstart.flags --run_dir=/shared/run
# --run_dir and the text have to be on a file system that all nodes see. Two minutes before its time is over the job gets
# SIGTERM, saves, and is put back into the queue, where the same command goes on.
#SBATCH --job-name=lm_keras
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
# For GPUs: #SBATCH --gpus-per-node=4
set -euo pipefail
port="${PORT:-23456}"
workers=""
rank=0
for host in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
  workers="$workers${workers:+, }\"$host:$((port + rank))\""
  rank=$((rank + 1))
done
export workers
code=0
srun --kill-on-bad-exit=0 bash -c '
  export TF_CONFIG="{\"cluster\": {\"worker\": [$workers]}, \"task\": {\"type\": \"worker\", \"index\": $SLURM_PROCID}}"
  exec "${PYTHON:-.venv/bin/python}" scripts/train.py "$@"
' worker "$@" || code=$?
if [ "$code" -eq 143 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
