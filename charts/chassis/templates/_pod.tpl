{{- /* Pod Security "restricted", for a pod that runs as this user and group (list CONTEXT UID) */ -}}
{{- define "chassis.podSecurity" -}}
{{- $values := (index . 0).Values -}}
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
{{- with concat $values.imagePullSecrets $values.global.imagePullSecrets | uniq }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $key, $value := pick $values "priorityClassName" "nodeSelector" "tolerations" "affinity" }}
{{- with $value }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
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

{{- /* chassis.pod: what every pod that runs the service's image has besides its containers and volumes */ -}}
{{- define "chassis.pod" -}}
serviceAccountName: {{ include "chassis.serviceAccountName" . }}
{{ include "chassis.podSecurity" (list . 10001) }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* chassis.container (list CONTEXT NAME COMMAND RESOURCES): the service's image in one of its roles */ -}}
{{- define "chassis.container" -}}
{{- $context := index . 0 -}}
{{- $image := $context.Values.image -}}
name: {{ index . 1 }}
image: {{ include "chassis.image" (list $context $image.repository) }}
{{- if or $image.tag (not $image.digest) }}:{{ $image.tag | default $context.Chart.AppVersion }}{{ end }}
{{- with $image.digest }}@{{ . }}{{ end }}
imagePullPolicy: {{ $image.pullPolicy }}
{{- with index . 2 }}
command:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{ include "chassis.containerSecurity" $context }}
resources:
  {{- toYaml (index . 3) | nindent 2 }}
{{- end }}
