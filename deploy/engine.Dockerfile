# The Engine: one process, one user. Built from the repository's root:
#
#   docker build -f deploy/engine.Dockerfile --target prod -t september-engine:2.3.0 .
#
# BUILD_IMAGE is for a base that has no npm. How the image is run, and why so: docs/deploy/images.md.
ARG BASE_IMAGE=node:24-bookworm-slim
ARG BUILD_IMAGE=${BASE_IMAGE}

# The same steps as in orchestrator.Dockerfile, so that who builds both does them once.
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
RUN set -e; \
    missing=; \
    for package in bubblewrap tini; do dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"; done; \
    if [ -n "$missing" ]; then \
      apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing && rm -rf /var/cache/apt/* /var/lib/apt/lists/*; \
    fi; \
    getent passwd 1000 >/dev/null || useradd --uid 1000 --user-group --home-dir /data --shell /usr/sbin/nologin engine; \
    install -d -o 1000 -g 1000 -m 0700 /data /run/september
# What it compiled at its first start is kept for all others: it depends on the options, the user and the place.
ENV NODE_ENV=production \
    NODE_COMPILE_CACHE=/opt/september/compiled \
    HOME=/data \
    ENGINE_HOST=0.0.0.0 \
    ENGINE_PORT=8000 \
    SQLITE_DB_PATH=/data/brain.sqlite \
    CATALOG_DIR=/catalog
COPY --from=build /src/dist/engine /opt/september
COPY catalog /catalog
WORKDIR /data
USER 1000:1000
EXPOSE 8000
# Without a Node.js of its own each time, which would cost more than the idle Engine.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/$ENGINE_PORT && printf 'GET /health HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && test \"$status\" = 200"]
ENTRYPOINT ["tini", "--", "node", "--max-semi-space-size=4", "/opt/september/main.mjs"]

FROM runtime AS warm
USER 0
RUN install -d -o 1000 -g 1000 /opt/september/compiled
COPY scripts/warm_engine.ts /opt/
USER 1000:1000
RUN node --max-semi-space-size=4 /opt/warm_engine.ts /opt/september
# It is code: the Engine reads it and nobody writes it.
USER 0
RUN chown -R 0:0 /opt/september/compiled && chmod -R a+rX /opt/september/compiled

FROM runtime AS prod
COPY --from=warm /opt/september/compiled /opt/september/compiled
ARG VERSION=2.3.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="september-engine" \
      org.opencontainers.image.description="The Engine: a single-tenant runtime for agents" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
