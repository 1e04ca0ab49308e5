# syntax=docker/dockerfile:1
# Two stages: the first has a toolchain, so that ssh2's compiled ciphers are built; the second has only what runs.
# Other base images (a mirror, a local one) go in by --build-arg.
ARG BUILD_IMAGE=docker.io/library/node:24-bookworm
ARG RUNTIME_IMAGE=docker.io/library/node:24-bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json ./
# The one install script that is wanted is ssh2's; everything else works without any.
RUN npm ci --ignore-scripts && npm rebuild ssh2
COPY tsconfig.json ./
COPY src ./src
RUN npm run build && npm prune --omit=dev --ignore-scripts

FROM ${RUNTIME_IMAGE}
ENV NODE_ENV=production
COPY --from=build --chown=0:0 /app/node_modules /app/node_modules
COPY --from=build --chown=0:0 /app/dist /app/dist
COPY --chown=0:0 package.json LICENSE /app/
# Relative hostKeys: and state: of the configuration count from here: the only folder that is written to.
RUN mkdir -p /var/lib/sftp-s3-gateway /etc/sftp-s3-gateway && chown 10022:10022 /var/lib/sftp-s3-gateway && chmod 0700 /var/lib/sftp-s3-gateway
WORKDIR /var/lib/sftp-s3-gateway
VOLUME /var/lib/sftp-s3-gateway
USER 10022:10022
EXPOSE 2022
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s --retries=3 \
  CMD ["node", "/app/dist/main.js", "health", "--config", "/etc/sftp-s3-gateway/gateway.yaml"]
ENTRYPOINT ["node", "/app/dist/main.js"]
CMD ["serve", "--config", "/etc/sftp-s3-gateway/gateway.yaml"]
