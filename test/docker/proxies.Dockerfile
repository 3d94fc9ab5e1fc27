# The reverse proxies whose configurations are in deploy/, to try them with; and a certificate for nginx.
ARG BASE_IMAGE=node:24-bookworm-slim
FROM ${BASE_IMAGE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends nginx-light caddy openssl \
 && rm -rf /var/lib/apt/lists/* \
 && install -d /etc/nginx/tls \
 && openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=localhost \
      -keyout /etc/nginx/tls/privkey.pem -out /etc/nginx/tls/fullchain.pem
