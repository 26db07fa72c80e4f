{{- /*
chassis.podSecurity (list CONTEXT SECURITY-CONTEXT): the fields of a pod spec that every pod has: security, image pull
secrets and scheduling. With the default SECURITY-CONTEXT, Pod Security "restricted" admits the pod.
*/ -}}
{{- define "chassis.podSecurity" -}}
{{- $values := (index . 0).Values -}}
automountServiceAccountToken: false
enableServiceLinks: false {{- /* otherwise a Service named "order" would set ORDER_PORT in the pods */}}
{{- with index . 1 }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat ($values.imagePullSecrets | default list) ($values.global.imagePullSecrets | default list) | uniq }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $key, $value := pick $values "priorityClassName" "runtimeClassName" "nodeSelector" "tolerations" "affinity" }}
{{- with $value }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- /* chassis.containerSecurity VALUE: the securityContext of a container, if VALUE is not empty */ -}}
{{- define "chassis.containerSecurity" -}}
{{- with . -}}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* chassis.pod: the pod spec, without containers and volumes, of every pod that runs the service's image */ -}}
{{- define "chassis.pod" -}}
{{ include "chassis.podAs" (list . (include "chassis.serviceAccountName" .)) }}
{{- end }}

{{- /* chassis.podAs (list CONTEXT ACCOUNT): the same with the ServiceAccount of that name */ -}}
{{- define "chassis.podAs" -}}
{{- $context := index . 0 -}}
{{- $values := $context.Values -}}
serviceAccountName: {{ index . 1 | quote }}
{{ include "chassis.podSecurity" (list $context $values.podSecurityContext) }}
{{- with $values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.dnsConfig }}
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
name: {{ index . 1 | quote }}
image: {{ include "chassis.serviceImage" $context }}
{{- if or $image.tag (not $image.digest) }}:{{ $image.tag | default $context.Chart.AppVersion }}{{ end }}
{{- with $image.digest }}@{{ . }}{{ end }}
imagePullPolicy: {{ $image.pullPolicy | quote }}
{{- with index . 2 }}
command:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "chassis.containerSecurity" $context.Values.securityContext }}
{{ . }}
{{- end }}
resources:
  {{- toYaml (index . 3) | nindent 2 }}
{{- end }}
