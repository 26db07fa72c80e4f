{{- /* Settings are plain variables; secrets are files, so that neither `kubectl describe` nor a crash dump shows them. */ -}}
{{- define "chassis.databaseEnv" -}}
- name: DATABASE_URL_FILE
  value: /etc/tandem/database-url
{{- end }}

{{- /* chassis.scalar: a value as text; a large number without an exponent */ -}}
{{- define "chassis.scalar" -}}
{{ kindIs "string" . | ternary . (toJson .) }}
{{- end }}

{{- /* chassis.settings: the plain settings as YAML {NAME: text}; what is more special wins */ -}}
{{- define "chassis.settings" -}}
{{- $settings := dict -}}
{{- $common := dict
  "JWT_JWKS_URL" .Values.jwt.jwksUrl "JWT_ISSUER" .Values.jwt.issuer "JWT_AUDIENCE" .Values.jwt.audience
  "RATE_LIMIT" .Values.rateLimit "OTEL_EXPORTER_OTLP_ENDPOINT" .Values.tracing.endpoint -}}
{{- if and .Values.tracing.endpoint (ne (toString .Values.tracing.sampleRatio) "1") -}}
{{- $common = merge (dict "OTEL_TRACES_SAMPLER" "parentbased_traceidratio" "OTEL_TRACES_SAMPLER_ARG" .Values.tracing.sampleRatio) $common -}}
{{- end -}}
{{- range $name, $value := merge dict (include "chassis.facts" . | fromYaml).env $common -}}
{{- if not (has $value (list "" nil)) -}}{{- $settings = set $settings $name (include "chassis.scalar" $value) -}}{{- end -}}
{{- end -}}
{{- range $name, $value := .Values.env -}}{{- $settings = set $settings $name (include "chassis.scalar" $value) -}}{{- end -}}
{{- range .Values.extraEnv -}}{{- $settings = unset $settings .name -}}{{- end -}}
{{- range $name, $_ := include "chassis.secretEnv" . | fromYaml -}}{{- $settings = unset $settings $name -}}{{- end -}}
{{ toYaml $settings }}
{{- end }}

{{- /* chassis.secretEnv: the secret settings as YAML {NAME: {secret: ..., key: ...}}; what is more special wins */ -}}
{{- define "chassis.secretEnv" -}}
{{- $common := dict -}}
{{- with .Values.tracing.headers -}}
{{- if .existingSecret -}}
{{- $common = dict "OTEL_EXPORTER_OTLP_HEADERS" (dict "secret" (tpl .existingSecret $) "key" .existingSecretKey) -}}
{{- end -}}
{{- end -}}
{{ toYaml (merge dict .Values.secretEnv $common) }}
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
{{- range $name, $_ := include "chassis.secretEnv" . | fromYaml }}
- name: {{ $name }}_FILE
  value: /etc/tandem/{{ $name }}
{{- end }}
{{- range $name, $value := include "chassis.settings" . | fromYaml }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* chassis.databaseSource (list CONTEXT SECRET): the database's URL out of its Secret, for a projected volume */ -}}
{{- define "chassis.databaseSource" -}}
{{- $values := (index . 0).Values -}}
secret:
  name: {{ index . 1 }}
  items:
    {{- if or $values.postgresql.enabled $values.database.url }}
    - key: url
    {{- else if $values.database.cloudNativePG }}
    - key: uri
    {{- else }}
    - key: {{ $values.database.existingSecretKey }}
    {{- end }}
      path: database-url
{{- end }}

{{- define "chassis.databaseSecret" -}}
{{- $own := printf "%s-%s" (include "chassis.fullname" .) (ternary "postgresql" "database" .Values.postgresql.enabled) -}}
{{- if .Values.postgresql.enabled -}}
{{ tpl .Values.postgresql.existingSecret . | default $own }}
{{- else if .Values.database.cloudNativePG -}}
{{ .Values.database.cloudNativePG }}-app
{{- else -}}
{{ tpl .Values.database.existingSecret . | default $own }}
{{- end -}}
{{- end }}

{{- define "chassis.credentialsSecret" -}}
{{ tpl .Values.credentials.existingSecret . | default (printf "%s-credentials" .Release.Name) }}
{{- end }}
