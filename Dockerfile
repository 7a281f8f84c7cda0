# One file for every image of ours: --build-arg BIN=broker | authentication | logger | mail | listener | frontend | weft-operator
#
#   docker build --build-arg BIN=broker .                              compiles from source; any machine with Docker
#   docker build --build-arg BIN=broker --target prebuilt <folder>     takes a compiled binary from a folder (make up)
#
# The stage with compiled binaries stands before the one that compiles: the classic builder builds every
# stage that comes before its target.
ARG BIN=broker

# An entrypoint in exec form takes no variable, so each binary has its line here.
FROM debian:bookworm-slim AS broker
ENTRYPOINT ["/usr/local/bin/broker"]
FROM debian:bookworm-slim AS logger
ENTRYPOINT ["/usr/local/bin/logger"]
FROM debian:bookworm-slim AS listener
ENTRYPOINT ["/usr/local/bin/listener"]
FROM debian:bookworm-slim AS authentication
ENTRYPOINT ["/usr/local/bin/authentication"]
FROM debian:bookworm-slim AS mail
ENTRYPOINT ["/usr/local/bin/mail"]
FROM debian:bookworm-slim AS frontend
ENTRYPOINT ["/usr/local/bin/frontend"]
FROM debian:bookworm-slim AS weft-operator
ENTRYPOINT ["/usr/local/bin/weft-operator"]

FROM ${BIN} AS prebuilt
ARG BIN
# mimalloc asks for huge pages, of which an idle process then holds five for a megabyte in use: an idle frontend has 16.8 MiB
# with them, 7.7 without.
ENV MIMALLOC_ALLOW_THP=0
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY ${BIN} /usr/local/bin/${BIN}
USER 65532:65532

FROM rust:1.95-slim-bookworm AS build
ARG BIN
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin "${BIN}" && install -D "target/release/${BIN}" "/out/${BIN}"

FROM ${BIN} AS source
ARG BIN
ENV MIMALLOC_ALLOW_THP=0
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/ /usr/local/bin/
USER 65532:65532
