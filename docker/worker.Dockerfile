# The worker that loads the model and makes the masks.
# From the repository's root: docker build -f docker/worker.Dockerfile .
#
# A plain Python base is enough for a GPU: torch's wheel brings the libraries of CUDA 13.0, and NVIDIA's Container
# Toolkit mounts the driver (580 or newer) when the container starts.
FROM python:3.13.11-slim-trixie

# A further package index, such as that of torch's builds for CPUs: see compose.cpu.yaml.
ARG PIP_EXTRA_INDEX_URL

ENV PYTHONUNBUFFERED=1 \
    HF_HOME=/models/huggingface \
    TORCH_HOME=/models/torch \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

WORKDIR /app

COPY requirements.txt requirements-web.txt requirements-worker.txt constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt -r requirements.txt

COPY pyproject.toml README.md LICENSE label_config.xml ./
COPY refam refam
COPY backend backend
COPY docker/healthcheck.py docker/
# A new volume at /models takes over the folder's owner.
RUN pip install --no-cache-dir --no-deps --editable . \
    && useradd --create-home --uid 10001 refam \
    && install --directory --owner=refam --group=refam /models

USER 10001
VOLUME /models
# The first start downloads the model, which may take long.
HEALTHCHECK --interval=30s --timeout=15s --start-period=30m CMD ["python", "docker/healthcheck.py", "worker"]
CMD ["refam-backend", "worker"]
