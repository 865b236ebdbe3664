# test/images/images.test.ts runs these lines, and the commands of docker-compose.yml, without a container engine.
FROM node:22-bookworm AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN npm run build
# The optional packages are PostgreSQL for the local stack and helpers of webpack. The built workflow bundle needs
# neither.
RUN npm prune --omit=dev --omit=optional

FROM node:22-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
# The slim image has no root certificates. Node.js has its own, but Temporal's native client reads these for Temporal
# Cloud.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
USER node
ENTRYPOINT ["node", "dist/cli/main.js"]
CMD ["api"]
