# What `make setup` makes of requirements.lock, on the system that the README asks for:
#
#     docker build -t dsacap-bench .                              # to run on a CPU
#     docker build -t dsacap-bench:gpu --build-arg DEVICE=gpu .   # with what a GPU wants besides
#
# docs/cluster.md says how it is used. The base is named by its tag: write its digest behind it where a build must never change.
FROM debian:bookworm-slim
ARG DEVICE=cpu
# On a GPU torch.compile builds its kernels with a compiler; the driver is the host's.
# hadolint ignore=DL3008,SC2086
RUN case "$DEVICE" in \
        cpu) compiler="" ;; \
        gpu) compiler="g++ python3-dev" ;; \
        *) echo "error: DEVICE is cpu or gpu, not $DEVICE" >&2; exit 1 ;; \
    esac \
    && apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git make python3 python3-venv $compiler \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /bench
COPY . .
# Anyone may run it (--user), on a clone of theirs mounted over /bench: its commit is then still told, and caches have a place.
RUN make setup VENV=/opt/venv \
    && rm -rf /root/.cache \
    && git config --system --add safe.directory /bench \
    && mkdir -m 1777 /home/bench
ENV PATH=/opt/venv/bin:$PATH HOME=/home/bench NVIDIA_DRIVER_CAPABILITIES=compute,utility
CMD ["snakemake", "--cores", "all", "results/table.md"]
