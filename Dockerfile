# What `make setup` makes of requirements.lock, on the system that the README asks for:
#
#     docker build -t dsacap-bench .                              # to run on a CPU
#     docker build -t dsacap-bench:gpu --build-arg DEVICE=gpu .   # with what a GPU wants besides
#
# docs/cluster.md says how it is used. The base is named by its tag: write its digest behind it where a build must never change.
ARG DEVICE=cpu

FROM debian:bookworm-slim AS cpu
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

FROM cpu AS gpu
# torch.compile builds its kernels with a compiler.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev \
    && rm -rf /var/lib/apt/lists/*
# The driver is the host's.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM ${DEVICE}
WORKDIR /bench
COPY . .
# Anyone may run it (--user), on a clone of theirs mounted over /bench: its commit is then still told, and caches have a place.
RUN make setup VENV=/opt/venv \
    && rm -rf /root/.cache \
    && git config --system --add safe.directory /bench \
    && mkdir -m 1777 /home/bench
ENV PATH=/opt/venv/bin:$PATH HOME=/home/bench
CMD ["snakemake", "--cores", "all", "results/table.md"]
