#!/bin/bash
# One run on several nodes, one process per GPU: sbatch docs/slurm.sh forward_grad --preset full
#SBATCH --job-name=jaxtrends
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
# TERM comes two minutes before the time limit, and every process saves its state. To continue, submit
# again with --resume. The output folder must be visible to all nodes, or checkpoints are not found.
set -euo pipefail

experiment=$1
shift
srun python -m "experiments.$experiment" \
  --distributed auto --output "runs/$experiment/slurm-${RUN:-$SLURM_JOB_ID}" "$@"
