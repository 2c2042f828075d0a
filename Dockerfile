# The image of lambda-builder. Asks nothing of BuildKit, so that Kaniko builds it as well:
#   docker build --build-arg REVISION="$(git rev-parse HEAD)" --tag lambda-builder:0.1.0 .

FROM python:3.13.15-slim-bookworm AS base

FROM base AS build
# The epoch of every file's time in the wheels, so that the same sources make the same image.
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    SOURCE_DATE_EPOCH=315532800
WORKDIR /src
# Wheels only: a source distribution would fetch a build system that no hash pins.
COPY requirements.lock ./
# What is in /wheels is pinned by the lock, here and below.
# hadolint ignore=DL3013
RUN pip wheel --require-hashes --only-binary=:all: --no-deps \
        --wheel-dir /wheels --requirement requirements.lock \
    && pip install --no-index --find-links /wheels setuptools
COPY setup.cfg setup.py README.rst LICENSE ./
COPY lambda_builder ./lambda_builder
# hadolint ignore=DL3013
RUN pip wheel --no-index --no-build-isolation --no-deps --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/lambda-builder \
    && pip --python /opt/lambda-builder/bin/python install \
        --no-index --find-links /wheels "lambda-builder[otlp,postgres]"

FROM base
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="lambda-builder" \
      org.opencontainers.image.description="CloudEvents in, Kubernetes image-build Jobs out" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 65532 lambda-builder \
    && useradd --uid 65532 --gid 65532 --no-log-init --no-create-home \
        --home-dir /nonexistent --shell /usr/sbin/nologin lambda-builder
COPY --from=build /opt/lambda-builder /opt/lambda-builder
COPY gunicorn.conf.py wsgi.py sbom.cdx.json /app/
ENV PATH=/opt/lambda-builder/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
# Kubernetes asks /health and /ready itself.
HEALTHCHECK NONE
CMD ["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
