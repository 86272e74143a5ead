# One image for all services: `bowerbird api`, `fetcher`, `storer`; compose.yaml says which is which.
# Nothing here needs BuildKit, so that any builder takes it.
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# What builds is in an environment of its own, and stays behind; what runs is installed by hash, before the code, which changes more often.
COPY requirements-build.lock ./
RUN python3 -m venv /opt/build && /opt/build/bin/pip install --quiet --require-hashes -r requirements-build.lock
COPY requirements.lock requirements-tracing.lock ./
RUN python3 -m venv /opt/bowerbird && /opt/bowerbird/bin/pip install --quiet --require-hashes -r requirements.lock -r requirements-tracing.lock
COPY pyproject.toml README.md LICENSE ./
COPY services services
COPY shared shared
RUN /opt/build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /build/wheels . \
 && /opt/bowerbird/bin/pip install --quiet --no-deps /build/wheels/*.whl \
 && /opt/bowerbird/bin/pip uninstall --quiet --yes pip setuptools \
 && find /opt/bowerbird -depth -type d -name tests -exec rm -rf {} +
COPY deploy/prepare.py /opt/bowerbird/run/deploy/
COPY deploy/demo /opt/bowerbird/run/deploy/demo
COPY deploy/mongo/initiate.py /opt/bowerbird/run/deploy/mongo/

FROM ${PYTHON}
# Bodies beyond 1 MiB are written to TMPDIR; a volume that is mounted there takes its owner from here.
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin bowerbird \
 && install --directory --owner bowerbird --group bowerbird --mode 700 /var/tmp/bowerbird
COPY --from=build /opt/bowerbird /opt/bowerbird
ENV PATH=/opt/bowerbird/bin:$PATH TMPDIR=/var/tmp/bowerbird PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /opt/bowerbird/run
USER 10001:10001
ENTRYPOINT ["bowerbird"]
CMD ["--help"]
