# The web server that Label Studio connects to: no torch, no model.
# From the repository's root: docker build -f docker/web.Dockerfile .
FROM python:3.13.11-slim-trixie

ENV PYTHONUNBUFFERED=1 \
    REFAM_BACKEND_HOST=0.0.0.0

WORKDIR /app

COPY requirements-web.txt constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt -r requirements-web.txt

COPY pyproject.toml README.md LICENSE label_config.xml requirements-worker.txt ./
COPY refam refam
COPY backend backend
COPY docker/healthcheck.py docker/
RUN pip install --no-cache-dir --no-deps --editable . \
    && useradd --create-home --uid 10001 refam

USER 10001
EXPOSE 9090
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s CMD ["python", "docker/healthcheck.py", "web"]
CMD ["refam-backend", "serve"]
