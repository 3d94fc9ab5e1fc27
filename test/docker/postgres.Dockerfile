# Stands in for the official PostgreSQL image where no registry can be reached. For tests only: Debian's package, from
# the release after the base image's, whose PostgreSQL 15 is older than the orchestrator takes; and an entry point
# that understands the official image's variables.
ARG BASE_IMAGE=node:24-bookworm-slim
FROM ${BASE_IMAGE}
RUN find /etc/apt -name '*.list' -o -name '*.sources' | xargs sed -i s/bookworm/trixie/g \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql \
 && rm -rf /var/lib/apt/lists/* /var/lib/postgresql/* /etc/postgresql/* \
 && install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/data \
 && ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/
COPY postgres_entry.sh /usr/local/bin/
ENV PGDATA=/var/lib/postgresql/data
USER postgres
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
ENTRYPOINT ["sh", "/usr/local/bin/postgres_entry.sh"]
