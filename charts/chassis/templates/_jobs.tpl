{{- /*
chassis.jobPod (list CONTEXT COMPONENT COMMAND DATABASE-SECRET MIGRATION-SECRET): the pod template of a Job that runs
COMMAND against the database. DATABASE-SECRET is the name of the Secret with the database URL. MIGRATION-SECRET is
{name, key} of the URL of the role that owns the tables; empty for a Job that does not need it.
*/ -}}
{{- define "chassis.jobPod" -}}
{{- $context := index . 0 -}}
{{- $migration := index . 4 -}}
{{- $createsRole := and $migration $context.Values.postgresql.enabled -}}
metadata:
  labels:
    {{- include "chassis.labels" (list $context (index . 1)) | nindent 4 }}
spec:
  restartPolicy: Never
  {{- include "chassis.pod" $context | nindent 2 }}
  {{- if $createsRole }}
  initContainers:
    - {{- include "chassis.createServiceRole" $context | nindent 6 }}
  {{- end }}
  containers:
    - {{- include "chassis.container" (list $context (index . 1) (index . 2) $context.Values.job.resources) | nindent 6 }}
      env:
        {{- include "chassis.databaseEnv" $context | nindent 8 }}
        {{- if $migration }}
        - name: MIGRATION_DATABASE_URL_FILE
          value: /etc/tandem/migration-database-url
        {{- end }}
        - name: LOG_LEVEL
          value: {{ $context.Values.logLevel }}
        {{- /* The purge must keep keys for as long as the services promise. Other settings need Secrets, and a job has none. */}}
        {{- with (include "chassis.settings" $context | fromYaml).IDEMPOTENCY_KEY_DAYS }}
        - name: IDEMPOTENCY_KEY_DAYS
          value: {{ . | quote }}
        {{- end }}
        {{- range $context.Values.extraEnv }}
        {{- if eq .name "IDEMPOTENCY_KEY_DAYS" }}
        - {{- toYaml . | nindent 10 }}
        {{- end }}
        {{- end }}
      volumeMounts:
        - {name: secrets, mountPath: /etc/tandem, readOnly: true}
        - {name: tmp, mountPath: /tmp}
        {{- with $context.Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          - {{- include "chassis.databaseSource" (list $context (index . 3)) | nindent 12 }}
          {{- with $migration }}
          - secret:
              name: {{ .name }}
              items:
                - {key: {{ .key }}, path: migration-database-url}
          {{- end }}
    {{- if $createsRole }}
    - name: postgresql-secrets
      secret:
        secretName: {{ index . 3 }}
        defaultMode: 0440
        items:
          - {key: postgres-password, path: postgres-password}
          - {key: service-password, path: service-password}
    {{- end }}
    - name: tmp
      emptyDir: {sizeLimit: 16Mi}
    {{- with $context.Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- /*
chassis.preUpgradeMigration: "yes" if the migration is a pre-upgrade hook, otherwise empty. As a hook it runs before any
other object changes, so a failed migration leaves the old pods serving. On install, or when this upgrade adds the
embedded database, the database is created with the other objects. The migration is then an ordinary Job, and web pods
become ready when it has run.
*/ -}}
{{- define "chassis.preUpgradeMigration" -}}
{{- $database := printf "%s-postgresql" (include "chassis.fullname" .) -}}
{{- if and .Release.IsUpgrade (or (not .Values.postgresql.enabled) (lookup "apps/v1" "StatefulSet" .Release.Namespace $database)) -}}
yes
{{- end -}}
{{- end }}

{{- /*
chassis.migration: the Job that migrates the schema. As a pre-upgrade hook it comes with a Secret of its own, unless that
Secret exists already.
*/ -}}
{{- define "chassis.migration" -}}
{{- $first := include "chassis.preUpgradeMigration" . -}}
{{- $name := printf "%s-migrate" (include "chassis.fullname" .) -}}
{{- $command := list "flask" "--app" .Chart.Name "migrate" "--wait" (toString .Values.migration.wait) -}}
{{- $secret := include "chassis.databaseSecretName" . -}}
{{- if $first }}{{ $name = printf "%s-first" $name }}{{ end -}}
{{- $migration := include "chassis.migrationSecret" . | fromYaml -}}
{{- if and $first (or .Values.database.url (and .Values.postgresql.enabled (not .Values.postgresql.existingSecret))) -}}
# A copy for the migration: this upgrade may change the URLs, and the Secret of the web pods is updated after the hook.
apiVersion: v1
kind: Secret
metadata:
  {{- include "chassis.metadata" (list . "migrate" $name) | nindent 2 }}
  annotations:
    helm.sh/hook: pre-upgrade
    helm.sh/hook-weight: "-1"
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
stringData:
  {{- if .Values.postgresql.enabled }}
  {{- include "chassis.embeddedSecretData" (list . $secret) | nindent 2 }}
  {{- else }}
  {{- include "chassis.externalUrls" . | nindent 2 }}
  {{- end }}
---
{{ if eq (get $migration "name") $secret }}{{ $migration = set $migration "name" $name }}{{ end -}}
{{- $secret = $name -}}
{{ end -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "chassis.metadata" (list . "migrate" $name) | nindent 2 }}
  {{- if $first }}
  annotations:
    helm.sh/hook: pre-upgrade
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
    helm.sh/hook-output-log-policy: hook-failed
  {{- end }}
spec:
  backoffLimit: {{ ternary 1 5 (not (empty $first)) }}
  {{- if $first }}
  ttlSecondsAfterFinished: 3600 # helm uninstall does not delete the Job of a failed hook
  {{- end }}
  template:
    {{- include "chassis.jobPod" (list . "migrate" $command $secret $migration) | nindent 4 }}
{{- end }}

{{- /* chassis.purge: the CronJob that deletes expired rows, if purge.enabled */ -}}
{{- define "chassis.purge" -}}
{{- if .Values.purge.enabled -}}
{{- $command := list "flask" "--app" .Chart.Name "purge" -}}
apiVersion: batch/v1
kind: CronJob
metadata:
  {{- include "chassis.metadata" (list . "purge" (printf "%s-purge" (include "chassis.fullname" .))) | nindent 2 }}
spec:
  schedule: {{ .Values.purge.schedule | quote }}
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 3600
  successfulJobsHistoryLimit: 1
  failedJobsHistoryLimit: 1
  jobTemplate:
    spec:
      backoffLimit: 2
      template:
        {{- include "chassis.jobPod" (list . "purge" $command (include "chassis.databaseSecretName" .) dict) | nindent 8 }}
{{- end }}
{{- end }}
