{{- /* Pod Security "restricted", for a pod that runs as this user and group (list CONTEXT UID) */ -}}
{{- define "chassis.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false {{- /* or a Service called "order" would set ORDER_PORT */}}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ index . 1 }}
  runAsGroup: {{ index . 1 }}
  fsGroup: {{ index . 1 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with pick (index . 0).Values "imagePullSecrets" "priorityClassName" "nodeSelector" "tolerations" "affinity" }}
{{- range $key, $value := . }}
{{- with $value }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "chassis.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{- /*
chassis.pod: what every pod that runs the service's image has besides its containers. Names of one dot or none are
completed by the search list, others are looked up as they stand: the peer and the embedded database are found at
the first question, and so is a host outside the cluster.
*/ -}}
{{- define "chassis.pod" -}}
{{ include "chassis.podSecurity" (list . 10001) }}
dnsConfig:
  options:
    - name: ndots
      value: "2"
{{- end }}

{{- /* chassis.container (list CONTEXT NAME COMMAND RESOURCES): the service's image in one of its roles */ -}}
{{- define "chassis.container" -}}
{{- $context := index . 0 -}}
name: {{ index . 1 }}
image: {{ $context.Values.image.repository }}:{{ $context.Values.image.tag | default $context.Chart.AppVersion }}
imagePullPolicy: {{ $context.Values.image.pullPolicy }}
{{- with index . 2 }}
command:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{ include "chassis.containerSecurity" $context }}
resources:
  {{- toYaml (index . 3) | nindent 2 }}
{{- end }}

{{- /* Settings are plain variables; secrets are files, so that neither `kubectl describe` nor a crash dump shows them. */ -}}
{{- define "chassis.databaseEnv" -}}
- name: DATABASE_URL_FILE
  value: /etc/tandem/database-url
{{- end }}

{{- define "chassis.env" -}}
{{- $facts := include "chassis.facts" . | fromYaml -}}
- name: ENVIRONMENT
  value: {{ .Values.environment }}
- name: LOG_LEVEL
  value: {{ .Values.logLevel }}
- name: PROMETHEUS_MULTIPROC_DIR
  value: /run/metrics
{{ include "chassis.databaseEnv" . }}
{{- range $name, $key := $facts.secrets }}
- name: {{ $name }}_FILE
  value: /etc/tandem/{{ $key }}
{{- end }}
{{- range $name, $_ := .Values.secretEnv }}
- name: {{ $name }}_FILE
  value: /etc/tandem/{{ $name }}
{{- end }}
{{- range $name, $value := merge dict .Values.env $facts.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- /* chassis.databaseSource (list CONTEXT SECRET): the database's URL out of its Secret, for a projected volume */ -}}
{{- define "chassis.databaseSource" -}}
{{- $values := (index . 0).Values -}}
secret:
  name: {{ index . 1 }}
  items:
    - key: {{ ternary $values.database.existingSecretKey "url" (and (not $values.postgresql.enabled) (not (empty $values.database.existingSecret))) }}
      path: database-url
{{- end }}

{{- define "chassis.databaseSecret" -}}
{{- if .Values.postgresql.enabled -}}
{{ tpl .Values.postgresql.existingSecret . | default (printf "%s-postgresql" (include "chassis.fullname" .)) }}
{{- else -}}
{{ tpl .Values.database.existingSecret . | default (printf "%s-database" (include "chassis.fullname" .)) }}
{{- end -}}
{{- end }}

{{- define "chassis.credentialsSecret" -}}
{{ tpl .Values.credentials.existingSecret . | default (printf "%s-credentials" .Release.Name) }}
{{- end }}
