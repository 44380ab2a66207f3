# The image: docker build --tag oci-registry .
#
# For several platforms: docker buildx build --platform linux/amd64,linux/arm64 --tag oci-registry .
#
# It listens at port 8080, and runs as the user 65532, with a root that can be read-only:
# --read-only --tmpfs /tmp. All that it writes is in /data.  To keep port 80 outside: --publish 80:8080;
# the health check asks where LISTEN says, in whichever form.

ARG PYTHON=3.13

FROM docker.io/library/python:${PYTHON}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# What builds stays here; what runs has no pip.
RUN python -m venv /opt/build && python -m venv --without-pip /opt/oci-registry
COPY requirements.lock requirements-build.lock ./
RUN /opt/build/bin/pip install --require-hashes --requirement requirements-build.lock \
    && /opt/build/bin/pip --python /opt/oci-registry/bin/python install \
        --require-hashes --only-binary :all: --requirement requirements.lock
COPY . .
RUN /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/build/bin/pip --python /opt/oci-registry/bin/python install --no-index --no-deps /wheels/*.whl
# twistd writes down which plugins there are.  It could not where it runs.
RUN /opt/oci-registry/bin/twistd --help >/dev/null \
    && test -s /opt/oci-registry/lib/python*/site-packages/twisted/plugins/dropin.cache

FROM docker.io/library/python:${PYTHON}-slim
ARG VERSION=26.11.0
ARG REVISION=
LABEL org.opencontainers.image.title="oci-registry" \
    org.opencontainers.image.description="A pull-through cache for container images from any registry" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 65532 oci-registry \
    && useradd --key UID_MAX=65535 --uid 65532 --gid 65532 --no-create-home --home-dir /data --shell /usr/sbin/nologin oci-registry \
    && install --directory --owner 65532 --group 65532 /data
COPY --from=build /opt/oci-registry /opt/oci-registry
ENV PATH=/opt/oci-registry/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LISTEN=0.0.0.0:8080 \
    FILESYSTEM_ROOT=/data
USER 65532:65532
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "-m", "oci_registry.config.health_check"]
ENTRYPOINT ["twistd", "-n", "--pidfile=", "oci-registry"]
CMD ["filesystem"]
