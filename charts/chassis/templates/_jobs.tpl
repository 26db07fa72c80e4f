{{- /*
chassis.jobPod (list CONTEXT COMPONENT COMMAND DATABASE-SECRET MIGRATION-SECRET ACCOUNT): the pod template of a Job that
runs COMMAND against the database. DATABASE-SECRET is the name of the Secret with the database URL. MIGRATION-SECRET is
{name, key} of the URL of the role that owns the tables; empty for a Job that does not need it. ACCOUNT is the name of its
ServiceAccount.
*/ -}}
{{- define "chassis.jobPod" -}}
{{- $context := index . 0 -}}
{{- $migration := index . 4 -}}
{{- $createsRole := and $migration $context.Values.postgresql.enabled -}}
metadata:
  labels:
    {{- include "chassis.labels" (list $context (index . 1)) | nindent 4 }}
  {{- if and (eq (index . 1) "migrate") (not $context.Values.postgresql.enabled) }}
  annotations: # another database needs another run
    checksum/database: {{ toJson $context.Values.database | sha256sum | quote }}
  {{- end }}
spec:
  restartPolicy: Never
  {{- include "chassis.podAs" (list $context (index . 5)) | nindent 2 }}
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
          value: {{ $context.Values.logLevel | quote }}
        {{- $names := include "chassis.jobSettings" $context | splitList "," }}
        {{- $settings := include "chassis.settings" $context | fromYaml }}
        {{- range $name := $names }}
        {{- with get $settings $name }}
        - name: {{ $name }}
          value: {{ . | quote }}
        {{- end }}
        {{- end }}
        {{- range $context.Values.extraEnv }}
        {{- if has .name $names }}
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
              name: {{ .name | quote }}
              items:
                - {key: {{ .key | quote }}, path: migration-database-url}
          {{- end }}
    {{- if $createsRole }}
    - name: postgresql-secrets
      secret:
        secretName: {{ index . 3 | quote }}
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
chassis.jobSettings: the settings that jobs get, separated by commas. The purge must keep keys for as long as the services
promise, and a pooler refuses connections that set options. Other settings need Secrets, and a job has none.
*/ -}}
{{- define "chassis.jobSettings" -}}
DATABASE_POOLED,IDEMPOTENCY_KEY_DAYS
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
chassis.migration: the Job that migrates the schema. Its name contains a hash of its pod template: a template cannot be
changed, so another image or database makes another Job, and the same one is left alone. As a pre-upgrade hook it comes
with what this upgrade only creates or changes after it: a Secret, unless that Secret exists already, a ServiceAccount,
if that of the pods does not exist, and a NetworkPolicy that adds to the one in the cluster. For Argo CD it is a hook of
the phase Sync: a sync runs it again, and its deletion after a while is no difference. Flux does not create it again
either.
*/ -}}
{{- define "chassis.migration" -}}
{{- $first := include "chassis.preUpgradeMigration" . -}}
{{- $prefix := printf "%s-migrate" (include "chassis.fullname" .) -}}
{{- $command := list "flask" "--app" (include "chassis.serviceName" .) "migrate" "--wait" (include "chassis.scalar" .Values.migration.wait) -}}
{{- $secret := include "chassis.databaseSecretName" . -}}
{{- $annotations := dict
  "argocd.argoproj.io/hook" "Sync"
  "argocd.argoproj.io/hook-delete-policy" "BeforeHookCreation,HookSucceeded"
  "helm.toolkit.fluxcd.io/driftDetection" "disabled" -}}
{{- $hook := dict "helm.sh/hook" "pre-upgrade" "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded" -}}
{{- $before := merge (dict "helm.sh/hook-weight" "-1") $hook -}}
{{- $migration := include "chassis.migrationSecret" . | fromYaml -}}
{{- $account := include "chassis.serviceAccountName" . -}}
{{- if and $first .Values.serviceAccount.create (not (lookup "v1" "ServiceAccount" .Release.Namespace $account)) -}}
{{- $account = $prefix -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "chassis.metadata" (list . "migrate" $prefix dict (merge dict $before .Values.serviceAccount.annotations)) | nindent 2 }}
automountServiceAccountToken: false
---
{{ end -}}
{{- $policy := lookup "networking.k8s.io/v1" "NetworkPolicy" .Release.Namespace (include "chassis.fullname" .) -}}
{{- if and $first (or .Values.networkPolicy.enabled $policy) -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "chassis.metadata" (list . "migrate" $prefix dict $before) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "chassis.selector" (list . "migrate") | nindent 6 }}
  policyTypes: [Egress]
  egress:
    {{- if .Values.networkPolicy.enabled }}
    {{- include "chassis.dnsEgress" . | nindent 4 }}
    {{- include "chassis.databaseEgress" . | nindent 4 }}
    {{- with .Values.networkPolicy.egress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- else }}
    - {} # this upgrade removes the policy that is in the cluster
    {{- end }}
---
{{ end -}}
{{- if and $first (or .Values.database.url (and .Values.postgresql.enabled (not .Values.postgresql.existingSecret))) -}}
# A copy for the migration: this upgrade may change the URLs, and the Secret of the web pods is updated after the hook.
apiVersion: v1
kind: Secret
metadata:
  {{- include "chassis.metadata" (list . "migrate" $prefix dict $before) | nindent 2 }}
stringData:
  {{- if .Values.postgresql.enabled }}
  {{- include "chassis.embeddedSecretData" (list . $secret) | nindent 2 }}
  {{- else }}
  {{- include "chassis.externalUrls" . | nindent 2 }}
  {{- end }}
---
{{ if eq (get $migration "name") $secret }}{{ $migration = set $migration "name" $prefix }}{{ end -}}
{{- $secret = $prefix -}}
{{ end -}}
{{- if $first }}{{ $annotations = merge $annotations $hook (dict "helm.sh/hook-output-log-policy" "hook-failed") }}{{ end -}}
{{- $pod := include "chassis.jobPod" (list . "migrate" $command $secret $migration $account) -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "chassis.metadata" (list . "migrate" (printf "%s-%s" $prefix (sha256sum $pod | trunc 8)) dict $annotations) | nindent 2 }}
spec:
  backoffLimit: {{ ternary 1 5 (not (empty $first)) }}
  ttlSecondsAfterFinished: 3600 # Helm does not delete the Job of a failed hook, and kubectl deletes none
  template:
    {{- $pod | nindent 4 }}
{{- end }}

{{- /* chassis.purge: the CronJob that deletes expired rows, if purge.enabled */ -}}
{{- define "chassis.purge" -}}
{{- if .Values.purge.enabled -}}
{{- $command := list "flask" "--app" (include "chassis.serviceName" .) "purge" -}}
apiVersion: batch/v1
kind: CronJob
metadata:
  {{- include "chassis.metadata" (list . "purge" (printf "%s-purge" (include "chassis.fullname" .))) | nindent 2 }}
spec:
  schedule: {{ .Values.purge.schedule | quote }}
  {{- with .Values.purge.timeZone }}
  timeZone: {{ . | quote }}
  {{- end }}
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: {{ .Values.purge.startingDeadlineSeconds }}
  successfulJobsHistoryLimit: 1
  failedJobsHistoryLimit: 1
  jobTemplate:
    spec:
      backoffLimit: 2
      template:
        {{- include "chassis.jobPod" (list . "purge" $command (include "chassis.databaseSecretName" .) dict (include "chassis.serviceAccountName" .)) | nindent 8 }}
{{- end }}
{{- end }}
