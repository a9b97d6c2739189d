# The image of every Sealstream process (target `sealstream`), and with the example in it (target `clinic`).
# docs/containers.md says how it is used, and how the files with the hashes are renewed.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1 \
    SOURCE_DATE_EPOCH=1764460800
WORKDIR /build

# Packages: each by version and hash, as wheels alone; nothing is compiled and nothing is chosen here.
COPY deploy/image/requirements.txt deploy/image/requirements-build.txt deploy/image/requirements-sbom.txt ./
RUN python -m venv --without-pip /opt/sealstream \
    && pip --python /opt/sealstream/bin/python install --no-deps --only-binary :all: --no-compile --require-hashes \
        -r requirements.txt \
    && pip install --no-deps --only-binary :all: --require-hashes -r requirements-build.txt \
    && python -m venv /sbom \
    && /sbom/bin/pip install --no-deps --only-binary :all: --require-hashes -r requirements-sbom.txt

# Sealstream itself, and what is in the image as a CycloneDX document.
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY producers/sealstream producers/sealstream
COPY processors processors
COPY sinks sinks
COPY verifiers verifiers
COPY deploy/sealstream deploy/sealstream
COPY console console
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/sealstream/bin/python install --no-deps --no-index --no-compile dist/*.whl \
    && mkdir -p /opt/sealstream/share/sealstream \
    && /sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-format JSON \
        --output-file /opt/sealstream/share/sealstream/sbom.cdx.json /opt/sealstream/bin/python \
    && cp LICENSE /opt/sealstream/share/sealstream/

# Bytecode is made here, since nothing can be written later; tests and headers of packages are of no use here.
RUN find /opt/sealstream/lib -type d \( -name tests -o -name include -o -name sample_data \) -prune -exec rm -rf {} + \
    && find /opt/sealstream/lib -type f \( -name '*.a' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' \) -delete \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/sealstream/lib


FROM python:3.13-slim AS sealstream
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sealstream" \
      org.opencontainers.image.description="A tamper-evident audit log: Kafka in, sealed chain, Postgres and Object-Locked S3 out" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="The Sealstream authors" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="python:3.13-slim"
RUN groupadd --system --gid 10001 sealstream \
    && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/sealstream --create-home --shell /usr/sbin/nologin \
        sealstream \
    && install -d -o sealstream -g sealstream /etc/sealstream /etc/sealstream/keys /etc/sealstream/verifications \
        /etc/sealstream/pending \
        /var/lib/sealstream/credentials /var/lib/sealstream/spool /var/lib/sealstream/state
COPY --from=build /opt/sealstream /opt/sealstream
COPY deploy/image/healthcheck.py /opt/sealstream/bin/healthcheck
ENV PATH=/opt/sealstream/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/sealstream XDG_STATE_HOME=/var/lib/sealstream/state MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /var/lib/sealstream
USER 10001:10001
# The process's own word that its loop moves. Give it `--metrics-port 9464`; HEALTHCHECK_PORT names another.
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 CMD ["healthcheck"]
ENTRYPOINT ["sealstream"]
CMD ["--help"]


FROM build AS clinic-packages
COPY deploy/image/requirements-clinic.txt ./
RUN pip --python /opt/sealstream/bin/python install --no-deps --only-binary :all: --require-hashes --target /clinic \
        -r requirements-clinic.txt

FROM sealstream AS clinic
LABEL org.opencontainers.image.title="Sealstream's example: a clinic"
COPY --from=clinic-packages /clinic /opt/clinic
COPY examples/clinic /opt/clinic/examples/clinic
COPY examples/demo/watching.py /opt/clinic/examples/demo/watching.py
ENV PYTHONPATH=/opt/clinic
ENTRYPOINT ["python", "-m"]
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 \
    CMD ["healthcheck", "http://127.0.0.1:8000/health"]
CMD ["uvicorn", "--factory", "examples.clinic.app:create_app", "--host", "0.0.0.0", "--port", "8000", \
     "--no-proxy-headers", "--log-level", "warning"]
