#!/bin/bash
# One run on several nodes, a process a GPU: sbatch docs/slurm.sh forward_grad --preset full
#SBATCH --job-name=jaxtrends
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
# TERM two minutes before the end: every process saves its state. To go on, submit it again with
# --resume. The folder must be one that all nodes see, or checkpoints of other nodes are not found.
set -euo pipefail

experiment=$1
shift
srun python -m "experiments.$experiment" \
  --distributed auto --output "runs/$experiment/slurm-${RUN:-$SLURM_JOB_ID}" "$@"
