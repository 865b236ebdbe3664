# test/images/images.test.ts carries out these lines, and what docker-compose.yml runs in them, without a container engine.
FROM node:22-bookworm AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN npm run build
# Optional packages are PostgreSQL for the embedded stack and webpack's helpers: the build's bundle of workflows needs neither.
RUN npm prune --omit=dev --omit=optional

FROM node:22-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
# The slim image has no root certificates. Node brings its own; Temporal's native client, which speaks TLS to Temporal Cloud, looks here.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
USER node
ENTRYPOINT ["node", "dist/cli/main.js"]
CMD ["api"]
