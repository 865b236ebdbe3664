{{- define "polony.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters: names of components and versions follow. */}}
{{- define "polony.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "polony.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the pods of a component. Call with (list $ "api"). */}}
{{- define "polony.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: {{ include "polony.name" $ }}
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of an object. Call with (list $ "api"), and with a tag if the object has another version. */}}
{{- define "polony.labels" -}}
{{- $ := index . 0 -}}
{{- $tag := $.Values.image.tag -}}
{{- if gt (len .) 2 -}}{{- $tag = index . 2 -}}{{- end -}}
{{ include "polony.selector" . }}
app.kubernetes.io/version: {{ $tag | default $.Chart.AppVersion | trunc 63 | trimSuffix "." | trimSuffix "-" | trimSuffix "_" | quote }}
app.kubernetes.io/part-of: polony
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "polony.serviceAccount" -}}
{{- ternary (default (include "polony.fullname" .) .Values.serviceAccount.name) .Values.serviceAccount.name .Values.serviceAccount.create -}}
{{- end -}}

{{/* An image. Call with (list $ $tag $digest). */}}
{{- define "polony.image" -}}
{{- $ := index . 0 -}}
{{- $repository := $.Values.image.repository -}}
{{- with index . 2 -}}
{{- printf "%s@%s" $repository . -}}
{{- else -}}
{{- printf "%s:%s" $repository (default $.Chart.AppVersion (index . 1)) -}}
{{- end -}}
{{- end -}}

{{/* The build ID of an image: its tag, and the start of its digest, because a tag can be moved. */}}
{{- define "polony.buildId" -}}
{{- $tag := default (index . 0).Chart.AppVersion (index . 1) -}}
{{- with index . 2 -}}
{{- printf "%s-%s" $tag (trimPrefix "sha256:" . | trunc 12) -}}
{{- else -}}
{{- $tag -}}
{{- end -}}
{{- end -}}

{{/* A setting as text. Helm reads numbers as floats, and would print 1e+06. */}}
{{- define "polony.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- end -}}

{{- define "polony.hasTemporalTls" -}}
{{- with .Values.temporal -}}
{{- if or .tls.enabled .tls.serverName .apiKey.existingSecret .tls.ca.existingSecret .tls.clientCertificate.existingSecret -}}yes{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether only the maintenance pod runs. */}}
{{- define "polony.isStopped" -}}
{{- if and .Values.maintenance.enabled .Values.maintenance.stopOthers -}}yes{{- end -}}
{{- end -}}

{{- define "polony.deploymentName" -}}
{{- default (include "polony.fullname" .) .Values.worker.versioning.deploymentName -}}
{{- end -}}

{{/*
The settings of a component without secrets, as a map. Call with (list $ "api").
*/}}
{{- define "polony.config" -}}
{{- $ := index . 0 -}}
{{- $component := index . 1 -}}
{{- $v := $.Values -}}
{{- $any := ternary "0.0.0.0" "[::]" (eq $v.ipFamily "IPv4") -}}
{{- $config := dict -}}
{{- if ne $component "promote" -}}
{{- $_ := set $config "POLONY_DATABASE_TLS" $v.database.tls -}}
{{- if or $v.database.ca.existingSecret $v.database.ca.existingConfigMap -}}
{{- $_ := set $config "POLONY_DATABASE_CA_FILE" "/etc/polony/database/ca.crt" -}}
{{- end -}}
{{- end -}}
{{- if ne $component "codec" -}}
{{- $_ := set $config "TEMPORAL_ADDRESS" $v.temporal.address -}}
{{- $_ := set $config "TEMPORAL_NAMESPACE" $v.temporal.namespace -}}
{{- if include "polony.hasTemporalTls" $ -}}{{- $_ := set $config "TEMPORAL_TLS" "true" -}}{{- end -}}
{{- with $v.temporal.tls.serverName -}}{{- $_ := set $config "TEMPORAL_TLS_SERVER_NAME" . -}}{{- end -}}
{{- if $v.temporal.tls.ca.existingSecret -}}
{{- $_ := set $config "TEMPORAL_TLS_SERVER_CA_CERT_PATH" "/etc/polony/temporal-ca/ca.crt" -}}
{{- end -}}
{{- if $v.temporal.tls.clientCertificate.existingSecret -}}
{{- $_ := set $config "TEMPORAL_TLS_CLIENT_CERT_PATH" "/etc/polony/temporal-client/tls.crt" -}}
{{- $_ := set $config "TEMPORAL_TLS_CLIENT_KEY_PATH" "/etc/polony/temporal-client/tls.key" -}}
{{- end -}}
{{- end -}}
{{- if has $component (list "api" "worker" "promote") -}}
{{- $_ := set $config "POLONY_TASK_QUEUE" $v.temporal.taskQueue -}}
{{- end -}}
{{- if has $component (list "api" "worker" "codec") -}}
{{- $_ := set $config "AWS_REGION" $v.aws.region -}}
{{- end -}}
{{- if and $v.metrics.enabled (has $component (list "api" "worker")) -}}
{{- $_ := set $config "POLONY_METRICS_ADDRESS" (printf "%s:%d" $any (int $v.metrics.port)) -}}
{{- end -}}
{{- if eq $component "api" -}}
{{- $_ := set $config "POLONY_HOST" (trimAll "[]" $any) -}}
{{- $_ := set $config "POLONY_PORT" "8080" -}}
{{- end -}}
{{- if has $component (list "api" "worker") -}}
{{- if $v.api.ingress.enabled -}}
{{- $scheme := ternary "https" "http" (ne $v.api.ingress.tlsSecret "") -}}
{{- $_ := set $config "POLONY_PUBLIC_URL" (printf "%s://%s%s" $scheme $v.api.ingress.host (trimSuffix "/" $v.api.ingress.path)) -}}
{{- end -}}
{{- end -}}
{{- if eq $component "api" -}}
{{- with $v.aws.trustedAccountId -}}{{- $_ := set $config "POLONY_TRUSTED_ACCOUNT_ID" . -}}{{- end -}}
{{- end -}}
{{- if eq $component "worker" -}}
{{- $_ := set $config "POLONY_HEALTH_ADDRESS" (printf "%s:8081" $any) -}}
{{- if $v.worker.versioning.enabled -}}
{{- with $v.worker.versioning.pinnedWorkflows -}}{{- $_ := set $config "POLONY_PINNED_WORKFLOWS" . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq $component "codec" -}}
{{- $_ := set $config "POLONY_CODEC_HOST" (trimAll "[]" $any) -}}
{{- $_ := set $config "POLONY_CODEC_PORT" "8088" -}}
{{- $_ := set $config "POLONY_CODEC_ORIGINS" (join "," $v.codec.origins) -}}
{{- end -}}
{{- if has $component (list "api" "worker" "codec") -}}
{{- range $name, $value := $v.settings -}}{{- $_ := set $config $name (include "polony.text" $value) -}}{{- end -}}
{{- if eq $component "codec" -}}
{{/* The codec server has the login of the API. */}}
{{- range $name, $value := $v.api.settings -}}
{{- if regexMatch "^POLONY_(OIDC_.*|FAILED_LOGINS_PER_MINUTE|REQUESTS_PER_MINUTE|TRUST_PROXY|ERROR_DOMAIN)$" $name -}}
{{- $_ := set $config $name (include "polony.text" $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := (index $v $component).settings -}}{{- $_ := set $config $name (include "polony.text" $value) -}}{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/*
The secrets of a component as JSON: the variable, and the Secret and key that it comes from. Call with (list $ "api").
*/}}
{{- define "polony.secrets" -}}
{{- $ := index . 0 -}}
{{- $component := index . 1 -}}
{{- $v := $.Values -}}
{{- $secrets := list -}}
{{- $database := $v.database -}}
{{- if and (eq $component "migration") $v.migration.existingSecret -}}{{- $database = $v.migration -}}{{- end -}}
{{- if ne $component "promote" -}}
{{- $secrets = append $secrets (dict "name" "DATABASE_URL" "secret" $database.existingSecret "key" $database.urlKey) -}}
{{- with $database.passwordKey -}}
{{- $secrets = append $secrets (dict "name" "PGPASSWORD" "secret" $database.existingSecret "key" .) -}}
{{- end -}}
{{- end -}}
{{- if eq $component "migration" -}}
{{- with $v.migration.runtimePasswordKey -}}
{{- $secrets = append $secrets (dict "name" "POLONY_RUNTIME_PASSWORD" "secret" $v.migration.existingSecret "key" .) -}}
{{- end -}}
{{- end -}}
{{- if and $v.temporal.apiKey.existingSecret (ne $component "codec") -}}
{{- $secrets = append $secrets (dict "name" "TEMPORAL_API_KEY" "secret" $v.temporal.apiKey.existingSecret "key" $v.temporal.apiKey.key) -}}
{{- end -}}
{{- if and $v.encryption.existingSecret (has $component (list "api" "worker")) -}}
{{- $secrets = append $secrets (dict "name" "POLONY_ENCRYPTION_KEYS" "secret" $v.encryption.existingSecret "key" $v.encryption.key) -}}
{{- end -}}
{{- if has $component (list "api" "worker" "codec") -}}
{{- if $v.payloadEncryption.existingSecret -}}
{{- $secrets = append $secrets (dict "name" "POLONY_PAYLOAD_KEYS" "secret" $v.payloadEncryption.existingSecret "key" $v.payloadEncryption.key) -}}
{{- end -}}
{{- if eq $v.aws.identity "secret" -}}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" -}}
{{- $secrets = append $secrets (dict "name" . "secret" $v.aws.existingSecret "key" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if has $component (list "api" "codec") -}}
{{- $secrets = append $secrets (dict "name" "POLONY_API_KEY" "secret" $v.api.existingSecret "key" $v.api.apiKeyKey) -}}
{{- end -}}
{{- if and (eq $component "api") $v.api.eventsKeyKey -}}
{{- $secrets = append $secrets (dict "name" "POLONY_EVENTS_KEY" "secret" $v.api.existingSecret "key" $v.api.eventsKeyKey) -}}
{{- end -}}
{{- /* The drivers of PostgreSQL and AWS read their own variables, and know no files. */ -}}
{{- range $secrets -}}
{{- $_ := set . "isFile" (and (eq $v.secretsAs "files") (not (regexMatch "^(PGPASSWORD|AWS_.*)$" .name))) -}}
{{- $_ := set . "volume" (printf "secret-%s" (.name | lower | replace "_" "-")) -}}
{{- end -}}
{{- toJson $secrets -}}
{{- end -}}

{{/* The variables of a component that are not in its settings. Call with (list $ "api"). */}}
{{- define "polony.secretEnv" -}}
{{- $ := index . 0 -}}
{{- range include "polony.secrets" . | fromJsonArray }}
{{- if .isFile }}
- name: {{ .name }}_FILE
  value: /etc/polony/secrets/{{ .name }}/value
{{- else }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key | quote }}
{{- end }}
{{- end }}
{{- if and (eq (index . 1) "migration") $.Values.migration.runtimeRole }}
- name: POLONY_RUNTIME_ROLE
  value: {{ $.Values.migration.runtimeRole | quote }}
{{- end }}
{{- end -}}

{{- define "polony.podSecurityContext" -}}
runAsNonRoot: true
{{- range $name := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- $value := index $.Values.podSecurityContext $name }}
{{- if not (kindIs "invalid" $value) }}
{{ $name }}: {{ int64 $value }}
{{- end }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "polony.containerSecurityContext" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Volumes with secrets and certificates, and the only folder that can be written. Call with (list $ "api"). */}}
{{- define "polony.volumes" -}}
{{- $ := index . 0 -}}
{{- $component := index . 1 -}}
{{- $v := $.Values -}}
- name: tmp
  emptyDir:
    sizeLimit: 256Mi
{{- range include "polony.secrets" . | fromJsonArray }}
{{- if .isFile }}
- name: {{ .volume }}
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
    items:
      - key: {{ .key | quote }}
        path: value
{{- end }}
{{- end }}
{{- if ne $component "promote" }}
{{- with $v.database.ca }}
{{- if or .existingSecret .existingConfigMap }}
- name: database-ca
  {{- if .existingSecret }}
  secret:
    secretName: {{ .existingSecret }}
  {{- else }}
  configMap:
    name: {{ .existingConfigMap }}
  {{- end }}
    defaultMode: 0440
    items:
      - key: {{ .key | quote }}
        path: ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- if ne $component "codec" }}
{{- with $v.temporal.tls.ca }}
{{- if .existingSecret }}
- name: temporal-ca
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .key | quote }}
        path: ca.crt
{{- end }}
{{- end }}
{{- with $v.temporal.tls.clientCertificate }}
{{- if .existingSecret }}
- name: temporal-client
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .certKey | quote }}
        path: tls.crt
      - key: {{ .keyKey | quote }}
        path: tls.key
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "polony.volumeMounts" -}}
{{- $ := index . 0 -}}
{{- $component := index . 1 -}}
{{- $v := $.Values -}}
- name: tmp
  mountPath: /tmp
{{- range include "polony.secrets" . | fromJsonArray }}
{{- if .isFile }}
- name: {{ .volume }}
  mountPath: /etc/polony/secrets/{{ .name }}
  readOnly: true
{{- end }}
{{- end }}
{{- if and (ne $component "promote") (or $v.database.ca.existingSecret $v.database.ca.existingConfigMap) }}
- name: database-ca
  mountPath: /etc/polony/database
  readOnly: true
{{- end }}
{{- if ne $component "codec" }}
{{- if $v.temporal.tls.ca.existingSecret }}
- name: temporal-ca
  mountPath: /etc/polony/temporal-ca
  readOnly: true
{{- end }}
{{- if $v.temporal.tls.clientCertificate.existingSecret }}
- name: temporal-client
  mountPath: /etc/polony/temporal-client
  readOnly: true
{{- end }}
{{- end }}
{{- end -}}

{{/*
The pod template of a component that keeps running. Call with a dict: root, component, tag, digest, labels (more labels),
env (more variables), ports, probes. The maintenance pod has the settings of a worker, and a command of its own: also
pass like, of (the values of the pod) and command.
*/}}
{{- define "polony.pod" -}}
{{- $ := .root -}}
{{- $component := .component -}}
{{- $like := default $component .like -}}
{{- $of := default (index $.Values $component) .of -}}
metadata:
  labels:
    # Without versions: an upgrade must not replace pods of earlier versions.
    {{- include "polony.selector" (list $ $component) | nindent 4 }}
    app.kubernetes.io/part-of: polony
    {{- with .labels }}{{ toYaml . | nindent 4 }}{{ end }}
    {{- with mergeOverwrite (deepCopy $.Values.podLabels) $of.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    # A changed setting replaces the pods.
    checksum/config: {{ include "polony.config" (list $ $like) | sha256sum }}
    {{- with mergeOverwrite (deepCopy $.Values.podAnnotations) $of.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ include "polony.serviceAccount" $ }}
  # No component calls Kubernetes. EKS mounts the token of its own for AWS in any case.
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $.Values.imagePullSecrets }}
  imagePullSecrets: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with $of.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext: {{ include "polony.podSecurityContext" $ | nindent 4 }}
  terminationGracePeriodSeconds: {{ int $of.terminationGracePeriodSeconds }}
  containers:
    - name: {{ $component }}
      image: {{ include "polony.image" (list $ .tag .digest) | quote }}
      imagePullPolicy: {{ $.Values.image.pullPolicy }}
      {{- if .command }}
      command: {{ toYaml .command | nindent 8 }}
      {{- else }}
      args: [{{ $component }}]
      {{- end }}
      securityContext: {{ include "polony.containerSecurityContext" $ | nindent 8 }}
      envFrom:
        - configMapRef:
            name: {{ include "polony.fullname" $ }}-{{ $like }}
      env:
        {{- include "polony.secretEnv" (list $ $like) | trim | nindent 8 }}
        {{- with .env }}{{ toYaml . | nindent 8 }}{{ end }}
        {{- with concat $.Values.extraEnv $of.extraEnv }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- with .ports }}
      ports: {{ toYaml . | nindent 8 }}
      {{- end }}
      {{- with .probes }}{{ toYaml . | nindent 6 }}{{ end }}
      {{- if $of.drainSeconds }}
      lifecycle:
        preStop:
          exec:
            command: [sleep, {{ $of.drainSeconds | int | quote }}]
      {{- end }}
      resources: {{ toYaml $of.resources | nindent 8 }}
      volumeMounts:
        {{- include "polony.volumeMounts" (list $ $like) | nindent 8 }}
        {{- with $of.extraVolumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
  volumes:
    {{- include "polony.volumes" (list $ $like) | nindent 4 }}
    {{- with $of.extraVolumes }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- with $of.nodeSelector }}
  nodeSelector: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with $of.tolerations }}
  tolerations: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with $of.affinity }}
  affinity: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- if eq $like $component }}
  topologySpreadConstraints:
    {{- if $of.topologySpreadConstraints }}
    {{- toYaml $of.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      # Only pods of the same version count, so that an upgrade does not unbalance them.
      matchLabelKeys: [pod-template-hash]
      labelSelector:
        matchLabels: {{ include "polony.selector" (list $ $component) | nindent 10 }}
    {{- end }}
    {{- end }}
  {{- end }}
{{- end -}}

{{/* Probes by HTTP. Call with the name of the port. */}}
{{- define "polony.probes" -}}
startupProbe:
  httpGet: { path: /healthz, port: {{ . }} }
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /healthz, port: {{ . }} }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  # It asks PostgreSQL and Temporal, and waits up to 3 seconds for each.
  httpGet: { path: /readyz, port: {{ . }} }
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}

{{/* The versions of the worker as JSON: the current one first. */}}
{{- define "polony.workerVersions" -}}
{{- $ := . -}}
{{- $image := .Values.image -}}
{{- $versioning := .Values.worker.versioning -}}
{{- $current := dict "tag" $image.tag "digest" $image.digest "isCurrent" true "replicas" .Values.worker.replicas -}}
{{- $_ := set $current "buildId" (default (include "polony.buildId" (list . $image.tag $image.digest)) $versioning.buildId) -}}
{{- $versions := list $current -}}
{{- if $versioning.enabled -}}
{{- range $versioning.previous -}}
{{- $version := dict "tag" (default "" .tag) "digest" (default "" .digest) "isCurrent" false "replicas" (ternary .replicas 1 (hasKey . "replicas")) -}}
{{- $_ := set $version "buildId" (default (include "polony.buildId" (list $ $version.tag $version.digest)) .buildId) -}}
{{- $versions = append $versions $version -}}
{{- end -}}
{{- end -}}
{{- range $versions -}}
{{- $suffix := ternary (printf "-%s" (.buildId | lower | replace "_" "-" | replace "." "-" | trunc 56 | trimSuffix "-")) "" $versioning.enabled -}}
{{- $name := printf "%s-worker%s" (include "polony.fullname" $) $suffix -}}
{{- if gt (len $name) 63 -}}
{{- $name = printf "%s-%s" ($name | trunc 54 | trimSuffix "-") (sha256sum $name | trunc 8) -}}
{{- end -}}
{{- $_ := set . "name" $name -}}
{{- $label := .buildId -}}
{{- if gt (len $label) 63 -}}{{- $label = printf "%s-%s" (trunc 54 $label) (sha256sum $label | trunc 8) -}}{{- end -}}
{{- $_ := set . "labels" (ternary (dict "polony/build" $label) dict $versioning.enabled) -}}
{{- $env := list -}}
{{- if $versioning.enabled -}}
{{- $env = list (dict "name" "POLONY_DEPLOYMENT_NAME" "value" (include "polony.deploymentName" $)) (dict "name" "POLONY_BUILD_ID" "value" .buildId) -}}
{{- end -}}
{{- $_ := set . "env" $env -}}
{{- end -}}
{{- toJson $versions -}}
{{- end -}}
