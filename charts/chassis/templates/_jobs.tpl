{{- /* chassis.jobPod (list CONTEXT COMPONENT COMMAND DATABASE-SECRET): a pod that does one thing to the database and ends */ -}}
{{- define "chassis.jobPod" -}}
{{- $context := index . 0 -}}
metadata:
  labels:
    {{- include "chassis.labels" (list $context (index . 1)) | nindent 4 }}
spec:
  restartPolicy: Never
  {{- include "chassis.pod" $context | nindent 2 }}
  containers:
    - {{- include "chassis.container" (list $context (index . 1) (index . 2) $context.Values.job.resources) | nindent 6 }}
      env:
        {{- include "chassis.databaseEnv" $context | nindent 8 }}
        - name: LOG_LEVEL
          value: {{ $context.Values.logLevel }}
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
    - name: tmp
      emptyDir: {sizeLimit: 16Mi}
    {{- with $context.Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- /*
chassis.migrateFirst: not empty when the migration runs before anything else of this release is changed. It does so
at an upgrade: when it fails, the old pods go on serving. It does not at an install, nor when the embedded database
is new: the database then comes with the other objects, and the web pods wait for its schema before they are ready.
*/ -}}
{{- define "chassis.migrateFirst" -}}
{{- $database := printf "%s-postgresql" (include "chassis.fullname" .) -}}
{{- if and .Release.IsUpgrade (or (not .Values.postgresql.enabled) (lookup "apps/v1" "StatefulSet" .Release.Namespace $database)) -}}
yes
{{- end -}}
{{- end }}

{{- define "chassis.migration" -}}
{{- $first := include "chassis.migrateFirst" . -}}
{{- $name := printf "%s-migrate" (include "chassis.fullname" .) -}}
{{- $command := list "flask" "--app" .Chart.Name "migrate" "--wait" (toString .Values.migration.wait) -}}
{{- $secret := include "chassis.databaseSecret" . -}}
{{- if $first }}{{ $name = printf "%s-first" $name }}{{ end -}}
{{- if and $first .Values.database.url -}}
{{- $secret = $name -}}
# The URL may be new in this upgrade, and the Secret of the web pods is not changed before the migration has run.
apiVersion: v1
kind: Secret
metadata:
  {{- include "chassis.metadata" (list . "migrate" $name) | nindent 2 }}
  annotations:
    helm.sh/hook: pre-upgrade
    helm.sh/hook-weight: "-1"
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
stringData:
  url: {{ .Values.database.url | quote }}
---
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
  ttlSecondsAfterFinished: 3600 # Helm does not uninstall what a failed hook left behind
  {{- end }}
  template:
    {{- include "chassis.jobPod" (list . "migrate" $command $secret) | nindent 4 }}
{{- end }}

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
        {{- include "chassis.jobPod" (list . "purge" $command (include "chassis.databaseSecret" .)) | nindent 8 }}
{{- end }}
{{- end }}
