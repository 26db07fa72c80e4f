{{- /*
Settings are environment variables. Secrets are files, and variables NAME_FILE hold their paths, so that secrets appear
neither in `kubectl describe` nor in a crash dump.
*/ -}}

{{- /* chassis.databaseEnv: the variable that holds the path of the database URL's file */ -}}
{{- define "chassis.databaseEnv" -}}
- name: DATABASE_URL_FILE
  value: /etc/tandem/database-url
{{- end }}

{{- /* chassis.scalar VALUE: a scalar as text. JSON formatting keeps large numbers free of an exponent. */ -}}
{{- define "chassis.scalar" -}}
{{ kindIs "string" . | ternary . (toJson .) }}
{{- end }}

{{- /*
chassis.settings: the settings that are not secret, as YAML {NAME: text}. `env` overrides the settings that other values
set. Names that are in extraEnv or secretEnv are left out, so that no variable is set twice.
*/ -}}
{{- define "chassis.settings" -}}
{{- $settings := dict -}}
{{- $common := dict
  "JWT_JWKS_URL" .Values.jwt.jwksUrl "JWT_ISSUER" .Values.jwt.issuer "JWT_AUDIENCE" .Values.jwt.audience
  "RATE_LIMIT" .Values.rateLimit "OTEL_EXPORTER_OTLP_ENDPOINT" .Values.tracing.endpoint -}}
{{- if and .Values.tracing.endpoint (ne (toString .Values.tracing.sampleRatio) "1") -}}
{{- $common = merge (dict "OTEL_TRACES_SAMPLER" "parentbased_traceidratio" "OTEL_TRACES_SAMPLER_ARG" .Values.tracing.sampleRatio) $common -}}
{{- end -}}
{{- /* The operator's Secret has no such option: after a failover, its name may lead to the old primary for a while. */ -}}
{{- if .Values.database.cloudNativePG -}}
{{- $common = set $common "PGTARGETSESSIONATTRS" "read-write" -}}
{{- end -}}
{{- with .Values.proxy.url -}}
{{- $direct := concat (list "localhost" "127.0.0.1" "::1" ".svc" ".cluster.local" (include "chassis.peerHost" $) (include "chassis.fullname" $)) ($.Values.proxy.noProxy | default list) -}}
{{- range $url := compact (list $.Values.tracing.endpoint $.Values.jwt.jwksUrl) -}}
{{- if include "chassis.inCluster" $url -}}{{- $direct = append $direct (include "chassis.host" $url) -}}{{- end -}}
{{- end -}}
{{- $common = merge (dict "HTTPS_PROXY" . "HTTP_PROXY" . "NO_PROXY" (uniq $direct | join ",")) $common -}}
{{- end -}}
{{- range $name, $value := merge dict (include "chassis.facts" . | fromYaml).env $common -}}
{{- if not (has $value (list "" nil)) -}}{{- $settings = set $settings $name (include "chassis.scalar" $value) -}}{{- end -}}
{{- end -}}
{{- range $name, $value := .Values.env -}}{{- $settings = set $settings $name (include "chassis.scalar" $value) -}}{{- end -}}
{{- range .Values.extraEnv -}}{{- $settings = unset $settings .name -}}{{- end -}}
{{- range $name, $_ := include "chassis.secretEnv" . | fromYaml -}}{{- $settings = unset $settings $name -}}{{- end -}}
{{ toYaml $settings }}
{{- end }}

{{- /* chassis.peerHost: the host of the other service's URL */ -}}
{{- define "chassis.peerHost" -}}
{{- range $name, $value := (include "chassis.facts" . | fromYaml).env -}}
{{- if has $name (list "ORDER_URL" "PAYMENT_URL") -}}{{ (urlParse $value).host | regexFind "^(\\[[^]]*\\]|[^:]*)" }}{{- end -}}
{{- end -}}
{{- end }}

{{- /*
chassis.secretEnv: the secret settings as YAML {NAME: {secret: ..., key: ...}}. The value secretEnv overrides
tracing.headers.
*/ -}}
{{- define "chassis.secretEnv" -}}
{{- $common := dict -}}
{{- with .Values.tracing.headers -}}
{{- if .existingSecret -}}
{{- $common = dict "OTEL_EXPORTER_OTLP_HEADERS" (dict "secret" (tpl .existingSecret $) "key" .existingSecretKey) -}}
{{- end -}}
{{- end -}}
{{ toYaml (merge dict (.Values.secretEnv | default dict) $common) }}
{{- end }}

{{- /* chassis.env: the environment variables that the web container and the relay container share */ -}}
{{- define "chassis.env" -}}
{{- $facts := include "chassis.facts" . | fromYaml -}}
- name: ENVIRONMENT
  value: {{ .Values.environment | quote }}
- name: LOG_LEVEL
  value: {{ .Values.logLevel | quote }}
- name: PROMETHEUS_MULTIPROC_DIR
  value: /run/metrics
{{ include "chassis.databaseEnv" . }}
{{- if include "chassis.readSecret" . }}
- name: READ_DATABASE_URL_FILE
  value: /etc/tandem/read-database-url
{{- end }}
{{- range $name, $key := $facts.secrets }}
- name: {{ $name }}_FILE
  value: /etc/tandem/{{ $key }}
{{- end }}
{{- range $name, $_ := include "chassis.secretEnv" . | fromYaml }}
- name: {{ $name }}_FILE
  value: /etc/tandem/{{ $name }}
{{- end }}
{{- if .Values.trustedCA.configMap }}
- name: TRUSTED_CA_FILE
  value: /etc/tandem/trusted-ca.crt
{{- end }}
{{- range $name, $value := include "chassis.settings" . | fromYaml }}
- name: {{ $name | quote }}
  value: {{ $value | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /*
chassis.databaseSource (list CONTEXT SECRET): the source of a projected volume that mounts the database URL of the role
that serves
*/ -}}
{{- define "chassis.databaseSource" -}}
{{- $values := (index . 0).Values -}}
secret:
  name: {{ index . 1 | quote }}
  items:
    {{- if $values.postgresql.enabled }}
    - key: service-url
    {{- else if $values.database.url }}
    - key: url
    {{- else if $values.database.existingSecret }}
    - key: {{ $values.database.existingSecretKey | quote }}
    {{- else }}
    - key: uri
    {{- end }}
      path: database-url
{{- end }}

{{- /*
chassis.migrationSecret: the Secret with the database URL of the role that owns the tables, as YAML {name, key}; empty if
the role that serves owns them too
*/ -}}
{{- define "chassis.migrationSecret" -}}
{{- $database := .Values.database -}}
{{- if .Values.postgresql.enabled -}}
{name: {{ include "chassis.databaseSecretName" . | quote }}, key: url}
{{- else if $database.migrationUrl -}}
{name: {{ include "chassis.databaseSecretName" . | quote }}, key: migration-url}
{{- else if $database.migrationExistingSecret -}}
{name: {{ tpl $database.migrationExistingSecret . | quote }}, key: {{ $database.migrationExistingSecretKey | quote }}}
{{- else if and $database.cloudNativePG $database.existingSecret -}}
{name: {{ $database.cloudNativePG }}-app, key: uri}
{{- end -}}
{{- end }}

{{- /*
chassis.readSecret: the Secret with the URL of a replica for reads, as YAML {name, key}; empty if all reads use the primary
*/ -}}
{{- define "chassis.readSecret" -}}
{{- $database := .Values.database -}}
{{- if .Values.postgresql.enabled -}}
{{- else if $database.readUrl -}}
{name: {{ include "chassis.databaseSecretName" . | quote }}, key: read-url}
{{- else if $database.readExistingSecret -}}
{name: {{ tpl $database.readExistingSecret . | quote }}, key: {{ $database.readExistingSecretKey | quote }}}
{{- end -}}
{{- end }}

{{- /* chassis.databaseSecretName: the name of the Secret with the database URL */ -}}
{{- define "chassis.databaseSecretName" -}}
{{- $own := printf "%s-%s" (include "chassis.fullname" .) (ternary "postgresql" "database" .Values.postgresql.enabled) -}}
{{- if .Values.postgresql.enabled -}}
{{ tpl (.Values.postgresql.existingSecret | default "") . | default $own }}
{{- else if and .Values.database.cloudNativePG (not .Values.database.existingSecret) -}}
{{ .Values.database.cloudNativePG }}-app
{{- else -}}
{{ tpl (.Values.database.existingSecret | default "") . | default $own }}
{{- end -}}
{{- end }}

{{- /* chassis.credentialsSecretName: the name of the Secret with the API keys and signing secrets */ -}}
{{- define "chassis.credentialsSecretName" -}}
{{ tpl (.Values.credentials.existingSecret | default "") . | default (printf "%s-credentials" .Release.Name) }}
{{- end }}
