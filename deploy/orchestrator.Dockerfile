# bap-engine, the orchestrator, and its command line. Built from the repository's root:
#
#   docker build -f deploy/orchestrator.Dockerfile --target prod -t bap-engine:0.2.0 .
#
# BUILD_IMAGE is for a base that has no npm. How the image is run: docs/deploy/images.md.
ARG BASE_IMAGE=node:24-bookworm-slim
ARG BUILD_IMAGE=${BASE_IMAGE}

# The same steps as in engine.Dockerfile, so that who builds both does them once.
FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY .npmrc package.json package-lock.json ./
COPY contract/package.json contract/
COPY engine/package.json engine/
COPY model-server/package.json model-server/
COPY openapi-page/package.json openapi-page/
COPY orchestrator/package.json orchestrator/
# Without their scripts: those fetch what only development needs.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY . .
RUN node scripts/bundle.ts

FROM ${BASE_IMAGE} AS runtime
# iptables is for the firewall service of compose, which is this image too.
RUN set -e; \
    missing=; \
    for package in iptables tini; do dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"; done; \
    if [ -n "$missing" ]; then \
      apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing && rm -rf /var/cache/apt/* /var/lib/apt/lists/*; \
    fi; \
    getent passwd 1000 >/dev/null || useradd --uid 1000 --user-group --home-dir /data --shell /usr/sbin/nologin bap; \
    install -d -o 1000 -g 1000 -m 0700 /data; \
    printf '#!/bin/sh\nexec node /opt/bap-engine/bap-engine.mjs "$@"\n' >/usr/local/bin/bap-engine; \
    chmod 755 /usr/local/bin/bap-engine
ENV NODE_ENV=production \
    NODE_COMPILE_CACHE=/opt/bap-engine/compiled \
    HOME=/data \
    ORCH_DATA_DIR=/data \
    ORCH_PORT=8000
COPY --from=build /src/dist/orchestrator /opt/bap-engine
WORKDIR /data
USER 1000:1000
EXPOSE 8000
# Without a Node.js of its own each time.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/$ORCH_PORT && printf 'GET /health HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && test \"$status\" = 200"]
ENTRYPOINT ["tini", "--"]
CMD ["node", "/opt/bap-engine/main.mjs"]

# What it compiled at its first start is kept for all others. The command line is the same code.
FROM runtime AS warm
USER 0
RUN install -d -o 1000 -g 1000 /opt/bap-engine/compiled
USER 1000:1000
RUN bap-engine --help >/dev/null
# It is code: who runs it does not write it.
USER 0
RUN chown -R 0:0 /opt/bap-engine/compiled && chmod -R a+rX /opt/bap-engine/compiled

FROM runtime AS prod
COPY --from=warm /opt/bap-engine/compiled /opt/bap-engine/compiled
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="bap-engine" \
      org.opencontainers.image.description="The control plane that runs Engines" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
