{{- /*
chassis.podSecurity (list CONTEXT UID): the fields of a pod spec that Pod Security "restricted" needs, for the user and
group UID; and the image pull secrets and scheduling values that every pod has.
*/ -}}
{{- define "chassis.podSecurity" -}}
{{- $values := (index . 0).Values -}}
automountServiceAccountToken: false
enableServiceLinks: false {{- /* otherwise a Service named "order" would set ORDER_PORT in the pods */}}
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

{{- /* chassis.containerSecurity: the container securityContext that Pod Security "restricted" needs */ -}}
{{- define "chassis.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{- /* chassis.pod: the pod spec, without containers and volumes, of every pod that runs the service's image */ -}}
{{- define "chassis.pod" -}}
serviceAccountName: {{ include "chassis.serviceAccountName" . }}
{{ include "chassis.podSecurity" (list . 10001) }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /*
chassis.container (list CONTEXT NAME COMMAND RESOURCES): a container of the service's image. COMMAND is a list; nil runs
the image's own command, the web server.
*/ -}}
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
