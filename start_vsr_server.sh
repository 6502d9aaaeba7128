#!/bin/sh
# Set the documented environment, say which GPU is here, then become the video server, which says what else it found.
# Arguments are those of vidaio_vsr_server.py.
set -eu
cd "$(dirname "$0")"

export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES-0}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS-4}"

# The project's own environment where there is one; PYTHON=... chooses another.
if [ -z "${PYTHON:-}" ]; then
    if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; else PYTHON=python3; fi
fi

echo "CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES OMP_NUM_THREADS=$OMP_NUM_THREADS" >&2
if command -v nvidia-smi >/dev/null 2>&1; then
    nvidia-smi --query-gpu=index,name,memory.total --format=csv,noheader >&2 || echo 'nvidia-smi finds no GPU' >&2
else
    echo 'no GPU driver here (nvidia-smi is missing); the processor does the work' >&2
fi

exec "$PYTHON" vidaio_vsr_server.py --show "$@"
