# One image for every process of Switchboard; compose.yaml gives each its command:
#   python -m webhook · python -m agent · python -m control · python -m control.worker · python -m local.models

FROM python:3.11-slim-trixie AS build
RUN pip install --no-cache-dir "uv>=0.9,<1"
ENV UV_PYTHON_DOWNLOADS=never \
    UV_PROJECT_ENVIRONMENT=/opt/switchboard \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy
WORKDIR /src
# Dependencies first: they change less often than the code.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --no-install-project --no-cache
COPY README.md LICENSE ./
COPY agent agent
COPY cli cli
COPY control control
COPY local local
COPY prompts prompts
COPY switchboard switchboard
COPY webhook webhook
RUN uv sync --frozen --no-dev --no-editable --no-cache

FROM python:3.11-slim-trixie
# The clearer voice of the bundled models; espeak comes with the Python packages.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends flite \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /var/lib/switchboard --shell /usr/sbin/nologin switchboard \
    && install --directory --owner switchboard --group switchboard --mode 0700 /var/lib/switchboard \
        /var/lib/switchboard/recordings
COPY --from=build /opt/switchboard /opt/switchboard
ENV PATH=/opt/switchboard/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    SWITCHBOARD_HOME=/var/lib/switchboard \
    SWITCHBOARD_HOST=0.0.0.0
WORKDIR /var/lib/switchboard
USER switchboard
EXPOSE 8080 8081 8082 8092
CMD ["switchboard", "--help"]
