# test/images/images.test.ts runs these lines, and the commands of docker-compose.yml, without a container engine.
# To pin them by digest, `npm run images:pin` writes name:tag@sha256:… to .env, which docker-compose.yml passes on.
ARG NODE_BUILD_IMAGE=node:22-bookworm
ARG NODE_IMAGE=node:22-bookworm-slim

FROM ${NODE_BUILD_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# No package runs a script of its own: the build needs none.
RUN npm ci --ignore-scripts
COPY . .
RUN npm run build
# The optional packages are PostgreSQL for the local stack and helpers of webpack. The built workflow bundle needs
# neither.
RUN npm prune --omit=dev --omit=optional --ignore-scripts

FROM ${NODE_IMAGE}
ENV NODE_ENV=production
# glibc gives nearly each thread memory of its own, a tenth of the memory of an idle worker (mallopt(3)).
ENV MALLOC_ARENA_MAX=2
WORKDIR /app
# The slim image has no root certificates. Node.js has its own, but Temporal's native client reads these for Temporal
# Cloud.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
# The command `polony`, for `docker compose exec` and `kubectl exec`. The paths are relative, so that the test of the
# image can run this line in a folder.
RUN chmod 755 dist/cli/main.js && mkdir -p ../usr/local/bin && ln -s ../../../app/dist/cli/main.js ../usr/local/bin/polony
USER node
ENTRYPOINT ["node", "dist/cli/main.js"]
CMD ["api"]
