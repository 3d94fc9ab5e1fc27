# The stand-in engine (orchestrator/test/support/stand_in_engine.ts) as an image that is laid out like the Engine's, for
# tests of what runs engines. It is built from the folder of that file.
ARG BASE_IMAGE=node:24-bookworm-slim
FROM ${BASE_IMAGE}
RUN dpkg -s tini >/dev/null 2>&1 || \
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends tini && rm -rf /var/cache/apt/* /var/lib/apt/lists/*; }
RUN install -d -o 1000 -g 1000 -m 0700 /data /run/september
ENV NODE_ENV=production ENGINE_HOST=0.0.0.0 ENGINE_PORT=8000 SQLITE_DB_PATH=/data/brain.sqlite CATALOG_DIR=/catalog HOME=/data
COPY stand_in_engine.ts /opt/stand_in/main.ts
WORKDIR /data
USER 1000:1000
EXPOSE 8000
ENTRYPOINT ["tini", "--", "node", "/opt/stand_in/main.ts"]
